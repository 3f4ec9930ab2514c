-- The ledger: one budget for a Google Cloud project, decided atomically for every process of every consumer.
--
-- STATES   missing   nothing is there (never opened, flushed, lost)
--          open      grants are made
--          forgotten the memory cannot vouch for the budget any more (`reason` says why)
--          closed    the last process that has the database has left and said so
--          missing/forgotten/closed -> open   only by `open`, by a process that has the database
--          open -> forgotten                  server changed, sequence or epoch behind an asker's, clock stepped,
--                                             window length changed
--          open -> closed                     `close`, when nobody else is on the roster
--
-- INVARIANTS
--   I1  In any span of W+J+D of this clock the units granted in a window are <= its limit. A grant is written to
--       the wire within J of the ask and arrives within D of that, so arrivals in any W are <= the limit.
--   I1  A window's entry leaves only after W+J+D, whatever became of its request: a permit that was not used costs
--       its own place and nothing else, and no late or wrong report can make room.
--   I1  Nothing is granted in any state but open, nor to an asker whose epoch is not this one.
--   I3  A retry is granted only against a whole retry token.
--   The sequence rises with every ask that was granted something. Time never goes back inside an epoch.
--
-- WINDOWS  A window is a list of "time:before:after", oldest first, where before and after are running totals of
--          units: used = last.after - first.before, in O(1), with nothing to keep in step.
--          Names: p project, u:USER, t:TENANT, c:CONSUMER, b backfill, w:ACCOUNT writes, s watch and stop;
--          P and U:USER for the token endpoint. They carry the epoch in their key and expire by themselves.
--
-- A LINE   is one fair queue: upstream and class. `tags` holds a tenant's finish tag (virtual time), `active` the tags
--          of tenants that asked lately, `demand` how much of the room that everyone shares each could use now (0:
--          it was served), `until` when an active one is given up.
--
-- KEYS are in the order of redis-keys.ts. ARGV: operation, format, asker, epoch number, epoch id, sequence,
-- a random number in [0,1) for jitter (a script's own is the same everywhere), the ledger's time in the last reply
-- that the asker has received, then what the operation needs.

local STATE, ROSTER, JOINED, SEEDS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local TENANTS, CONSUMERS, PAUSES = KEYS[5], KEYS[6], KEYS[7]
local PARKS, SCALES, THROTTLED, HEADS = KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local USAGE, USAGE_TAKEN, SPENDERS = KEYS[12], KEYS[13], KEYS[14]
local WINDOW, LINE, ACKS = KEYS[15], KEYS[16], KEYS[17]

local FORMAT = "1"
local SEPARATOR = "\31"
local RANKS = { interactive = 1, push = 2, poll = 3, backfill = 4 }
local WRITES = {
  ["events.insert"] = true, ["events.import"] = true, ["events.update"] = true, ["events.patch"] = true,
  ["events.move"] = true, ["events.quickAdd"] = true, ["events.delete"] = true,
}
local WATCHES = { ["events.watch"] = true, ["calendarList.watch"] = true, ["channels.stop"] = true }

local operation, format, asker = ARGV[1], ARGV[2], ARGV[3]
local asker_epoch_number, asker_epoch, asker_sequence = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local random = tonumber(ARGV[7])
local cursor = 8

local function next_argument()
  cursor = cursor + 1
  return ARGV[cursor]
end

local function next_number()
  return tonumber(next_argument())
end

local function whole(value)
  return string.format("%.0f", value)
end

-- ── Time and state ───────────────────────────────────────────────────────────────────────────────────────────

local clock = redis.call("TIME")
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function load_hash(key)
  local flat, loaded = redis.call("HGETALL", key), {}
  for index = 1, #flat, 2 do loaded[flat[index]] = flat[index + 1] end
  return loaded
end

local state = load_hash(STATE)
local settings = state.settings and cjson.decode(state.settings) or nil
local changes = {}

local function remember(field, value)
  state[field] = value
  changes[field] = value
end

local function number_of(field, otherwise)
  return tonumber(state[field]) or otherwise
end

local function save_changes()
  local flat = {}
  for field, value in pairs(changes) do
    flat[#flat + 1] = field
    flat[#flat + 1] = type(value) == "number" and string.format("%.6f", value) or value
  end
  if #flat > 0 then redis.call("HSET", STATE, unpack(flat)) end
  changes = {}
end

-- A restart or a failover may have lost the tail of what was granted: the server that answers must be the one
-- that the epoch was opened on. Asked of the server itself, since a client may be connected to another by now.
local function server_identity()
  local answered = redis.pcall("INFO", "server")
  if type(answered) ~= "string" then return "unknown" end
  return string.match(answered, "run_id:(%w+)") or "unknown"
end

local function span_ms()
  return settings.windowMs + settings.useWithinMs + settings.transitMs
end

local function forget(reason)
  if state.status ~= "open" then return end
  remember("status", "forgotten")
  remember("reason", reason)
  remember("since", whole(now))
end

-- Everything by which the ledger itself sees that its memory is not the one that the askers rely on.
local function examine_memory()
  if not state.status then return end
  if state.format ~= FORMAT then return end
  if state.status ~= "open" then return end
  if state.server ~= server_identity() then forget("server-changed") return end
  local last = number_of("lastMs", 0)
  if now < last then
    if last - now > settings.clockToleranceMs then forget("clock-went-back") return end
    now = last
  end
  if asker_epoch_number > number_of("epochNumber", 0) then forget("epoch-behind") return end
  if asker_epoch_number == number_of("epochNumber", 0) then
    if asker_epoch ~= state.epoch then forget("epoch-differs") return end
    if asker_sequence > number_of("sequence", 0) then forget("sequence-behind") return end
  end
end

local function standing()
  if not state.status then return "missing" end
  if state.format ~= FORMAT or format ~= FORMAT then return "other-format" end
  return state.status
end

local function header(status)
  return {
    status, state.reason or "", state.epochNumber or "0", state.epoch or "", whole(number_of("sequence", 0)),
    whole(now), tostring(redis.call("HEXISTS", SEEDS, asker)), state.format or "",
  }
end

-- ── Roster ───────────────────────────────────────────────────────────────────────────────────────────────────

-- A newcomer is granted nothing until everyone who asks has received a roster with it, or for `settleMs`: then
-- whoever survives a loss knows everyone who may hold grants, and whoever was here before has compared clocks.
-- `joined` holds "founder" (was there when the epoch opened), "retired" (asks no more), or the time, after "quiet:"
-- where nobody had been heard for so long that a step of the clock could hide in it.
local function enrol()
  local gone = redis.call("ZRANGEBYSCORE", ROSTER, "-inf", "(" .. whole(now - span_ms()))
  for _, member in ipairs(gone) do
    redis.call("ZREM", ROSTER, member)
    redis.call("HDEL", JOINED, member)
    redis.call("HDEL", ACKS, member)
  end
  if redis.call("ZSCORE", ROSTER, asker) == false then
    -- Who was here before in this epoch has compared clocks over the silence itself.
    local is_quiet = asker_epoch ~= state.epoch and now - number_of("lastMs", 0) > settings.settleMs
    redis.call("HSETNX", JOINED, asker, (is_quiet and "quiet:" or "") .. whole(now))
  end
  redis.call("ZADD", ROSTER, whole(now), asker)
  redis.call("HSET", ACKS, asker, asker_epoch == state.epoch and ARGV[8] or "0")
  remember("lastMs", whole(now))
end

local function is_settled()
  local joined = redis.call("HGET", JOINED, asker)
  if not joined or joined == "founder" then return true end
  if joined == "retired" then
    -- It said that it would ask no more, and does: like anyone new, it waits until everyone has heard of it.
    redis.call("HSET", JOINED, asker, whole(now))
    return false
  end
  local joined_at = tonumber(string.match(joined, "%d+"))
  if not joined_at then return false end
  if now - joined_at < settings.settleMs then
    if string.sub(joined, 1, 6) == "quiet:" then return false end
    for _, member in ipairs(redis.call("ZRANGE", ROSTER, 0, -1)) do
      local has_seen = (tonumber(redis.call("HGET", ACKS, member) or nil) or 0) > joined_at
      if member ~= asker and not has_seen and redis.call("HGET", JOINED, member) ~= "retired" then return false end
    end
  end
  redis.call("HSET", JOINED, asker, "founder")
  return true
end

-- ── Windows ──────────────────────────────────────────────────────────────────────────────────────────────────

local windows = {}

local function parse_entry(entry)
  local at, before, after = string.match(entry, "^(%d+):(%d+):(%d+)$")
  return tonumber(at), tonumber(before), tonumber(after)
end

local TRIM_AT_ONCE = 200

local function trim(key)
  local first = redis.call("LINDEX", key, 0)
  if not first then return end
  local oldest_counted = now - span_ms()
  if parse_entry(first) >= oldest_counted then return end
  if parse_entry(redis.call("LINDEX", key, -1)) < oldest_counted then
    redis.call("DEL", key)
    return
  end
  while true do
    local entries = redis.call("LRANGE", key, 0, TRIM_AT_ONCE - 1)
    local expired = 0
    for _, entry in ipairs(entries) do
      if parse_entry(entry) >= oldest_counted then break end
      expired = expired + 1
    end
    if expired > 0 then redis.call("LTRIM", key, expired, -1) end
    if expired < TRIM_AT_ONCE then return end
  end
end

local function open_window(name)
  local window = windows[name]
  if window then return window end
  local key = WINDOW .. (state.windows or "0") .. ":" .. name
  trim(key)
  window = { key = key, base = 0, total = 0, last_at = nil, added = 0 }
  local first = redis.call("LINDEX", key, 0)
  if first then
    local _, before = parse_entry(first)
    local last_at, _, after = parse_entry(redis.call("LINDEX", key, -1))
    window.base, window.total, window.last_at = before, after, last_at
  end
  windows[name] = window
  return window
end

local function used_in(window)
  return window.total - window.base + window.added
end

local function append(window, at, units)
  local before = window.total
  if window.last_at and window.last_at >= at then
    local _, last_before = parse_entry(redis.call("RPOP", window.key))
    at, before = window.last_at, last_before
  end
  window.total = window.total + units
  window.last_at = at
  redis.call("RPUSH", window.key, whole(at) .. ":" .. whole(before) .. ":" .. whole(window.total))
end

local function save_windows()
  for _, window in pairs(windows) do
    if window.added > 0 then
      append(window, now, window.added)
      window.added = 0
      redis.call("PEXPIRE", window.key, whole(2 * span_ms()))
    end
  end
end

-- When `units` will have left the window. Searched from the old end: what is asked for is nearly always there.
local function freed_at(window, units)
  local length = redis.call("LLEN", window.key)
  local function entry_frees_enough(index)
    local at, _, after = parse_entry(redis.call("LINDEX", window.key, index))
    return after - window.base >= units, at
  end
  if length == 0 or window.total - window.base < units then return now + span_ms() + 1 end
  local low, high, step = 0, 0, 1
  while high < length - 1 and not entry_frees_enough(high) do
    low = high + 1
    high = math.min(length - 1, high + step)
    step = step * 2
  end
  while low < high do
    local middle = math.floor((low + high) / 2)
    if entry_frees_enough(middle) then high = middle else low = middle + 1 end
  end
  local _, at = entry_frees_enough(low)
  return at + span_ms() + 1
end

-- ── AIMD: a 403/429 inside the budget means that Google knows better ─────────────────────────────────────────

local scales = {}

-- "scale:cutAt:holdUntil"
local function load_scale(scope)
  local scale = scales[scope]
  if scale then return scale end
  scale = { factor = 1, cut_at = 0, hold_until = 0 }
  local stored = redis.call("HGET", SCALES, scope)
  if stored then
    local factor, cut_at, hold_until = string.match(stored, "^([^:]+):([^:]+):([^:]+)$")
    scale.cut_at, scale.hold_until = tonumber(cut_at), tonumber(hold_until)
    local rising_ms = math.max(0, now - scale.cut_at - settings.aimdRestMs)
    scale.factor = math.min(1, tonumber(factor) + settings.aimdRaisePerMinute * rising_ms / settings.windowMs)
    if scale.factor >= 1 and scale.hold_until <= now then redis.call("HDEL", SCALES, scope) end
  end
  scales[scope] = scale
  return scale
end

-- One overload is answered by many refusals at once: they are one cut, not one each.
local function cut(scope, retry_after_ms)
  local scale = load_scale(scope)
  if now - scale.cut_at >= settings.aimdCooldownMs then
    scale.factor = math.max(settings.aimdFloor, scale.factor * settings.aimdCut)
    scale.cut_at = now
  elseif scale.cut_at > 0 and scale.factor >= 1 then
    scale.factor = settings.aimdCut
  end
  scale.hold_until = math.max(scale.hold_until, now + retry_after_ms)
  redis.call("HSET", SCALES, scope,
    string.format("%.4f:%.0f:%.0f", scale.factor, scale.cut_at, scale.hold_until))
end

local function scaled(limit, scope)
  return math.max(1, math.floor(limit * load_scale(scope).factor))
end

local function throttled(upstream, user, scope, retry_after_ms)
  if scope == "project" then
    cut("project:" .. upstream, retry_after_ms)
    return
  end
  cut("user:" .. upstream .. ":" .. user, retry_after_ms)
  if scope == "user" then return end
  local key = upstream .. ":" .. user
  redis.call("ZADD", THROTTLED, whole(now), key)
  redis.call("ZREMRANGEBYSCORE", THROTTLED, "-inf", whole(now - settings.aimdWitnessMs))
  local saying_so = 0
  for _, member in ipairs(redis.call("ZRANGE", THROTTLED, 0, -1)) do
    if string.sub(member, 1, #upstream + 1) == upstream .. ":" then saying_so = saying_so + 1 end
  end
  if saying_so >= settings.aimdWitnesses then cut("project:" .. upstream, retry_after_ms) end
end

-- ── Retry tokens (I3) ────────────────────────────────────────────────────────────────────────────────────────

local function retry_tokens()
  local elapsed_ms = math.max(0, now - number_of("retryAt", now))
  return math.min(settings.retrySaved,
    number_of("retryTokens", 0) + elapsed_ms / 1000 * settings.retryPerSecond)
end

local function pay_retry_tokens(amount)
  remember("retryTokens", math.min(settings.retrySaved, retry_tokens() + amount))
  remember("retryAt", whole(now))
end

-- ── Breaker, one per upstream ────────────────────────────────────────────────────────────────────────────────
-- closed -> open (a sensor tripped, or a probe failed) -> probing (one permit is out) -> closed | open, twice as long

local function load_breaker(upstream)
  local open_until, wait_ms, probe_until =
    string.match(state["breaker:" .. upstream] or "", "^([^:]+):([^:]+):([^:]+)$")
  if not open_until then return nil end
  return { open_until = tonumber(open_until), wait_ms = tonumber(wait_ms), probe_until = tonumber(probe_until) }
end

local function save_breaker(upstream, breaker)
  remember("breaker:" .. upstream, breaker
    and string.format("%.0f:%.0f:%.0f", breaker.open_until, breaker.wait_ms, breaker.probe_until) or "")
end

-- T is jittered upwards by up to a fifth.
local function open_breaker(upstream, wait_ms)
  local wait = math.min(settings.breakerMaxMs, wait_ms)
  save_breaker(upstream, { open_until = now + wait * (1 + random / 5), wait_ms = wait, probe_until = 0 })
end

local function settle_probe(upstream, outcome)
  local breaker = load_breaker(upstream)
  if not breaker then return end
  if outcome == "unused" then
    breaker.probe_until = 0
    save_breaker(upstream, breaker)
  elseif outcome == "upstream-failed" then
    open_breaker(upstream, breaker.wait_ms * 2)
  else
    save_breaker(upstream, nil)
  end
end

-- ── The day ──────────────────────────────────────────────────────────────────────────────────────────────────

-- What was granted within J+D before the turn may arrive on either side of it: it counts on both.
local function turn_day()
  while now >= number_of("dayEndsAt", 0) do
    local ended_at, carried = number_of("dayEndsAt", 0), 0
    if now - ended_at <= span_ms() then
      local key = open_window("p").key
      for _, entry in ipairs(redis.call("LRANGE", key, 0, -1)) do
        local at, before, after = parse_entry(entry)
        if at >= ended_at - settings.useWithinMs - settings.transitMs then carried = carried + after - before end
      end
    end
    local next_end = ended_at + 86400000
    for _, turn in ipairs(settings.dayTurns) do
      if turn > ended_at then next_end = turn break end
    end
    remember("dayStartedAt", whole(ended_at))
    remember("dayEndsAt", whole(next_end))
    remember("dayCount", whole(carried))
    redis.call("DEL", SPENDERS)
  end
end

local function day_left_fraction()
  local starts, ends = number_of("dayStartedAt", 0), number_of("dayEndsAt", 0)
  return math.max(0, math.min(1, (ends - now) / math.max(1, ends - starts)))
end

-- ── Who asks: overrides, pauses, parks ───────────────────────────────────────────────────────────────────────

local tenants, consumers, pauses = {}, {}, {}

local function load_tenant(name)
  local tenant = tenants[name]
  if tenant then return tenant end
  local weight, cap = string.match(redis.call("HGET", TENANTS, name) or "", "^([^:]+):([^:]+)$")
  tenant = { weight = tonumber(weight) or 1, cap = tonumber(cap) or settings.defaultTenantCap }
  tenants[name] = tenant
  return tenant
end

local function load_consumer(name)
  local consumer = consumers[name]
  if consumer then return consumer end
  local stored = redis.call("HGET", CONSUMERS, name) or redis.call("HGET", CONSUMERS, "*") or ""
  local cap, classes = string.match(stored, "^([^:]+):(.*)$")
  consumer = { cap = tonumber(cap) or 1, classes = "," .. (classes or "push,poll,backfill") .. "," }
  consumers[name] = consumer
  return consumer
end

local function load_pause(target)
  local pause = pauses[target]
  if pause == nil then
    pause = false
    local stored = redis.call("HGET", PAUSES, target)
    if stored then
      local ends_at, reason = string.match(stored, "^(%d+):(.*)$")
      pause = { ends_at = tonumber(ends_at), reason = reason }
      if pause.ends_at > 0 and pause.ends_at <= now then pause = false end
    end
    pauses[target] = pause
  end
  return pause
end

local has_pauses = nil

local function find_pause(lane)
  if has_pauses == nil then has_pauses = redis.call("HLEN", PAUSES) > 0 end
  if not has_pauses then return nil end
  local targets = {
    "project", "class:" .. lane.class, "operation:" .. lane.operation, "consumer:" .. lane.consumer,
    "tenant:" .. lane.tenant, "account:" .. lane.account,
  }
  for position, target in ipairs(targets) do
    local pause = load_pause(target)
    if pause then return pause, target, position <= 2 end
  end
  return nil
end

-- ── Lanes: asks that are alike in everything that a limit looks at ───────────────────────────────────────────

local function read_lane()
  local lane = {
    upstream = next_argument(), class = next_argument(), tenant = next_argument(), account = next_argument(),
    user = next_argument(), consumer = next_argument(), operation = next_argument(), attempt = next_argument(),
    count = next_number(),
  }
  lane.rank = RANKS[lane.class]
  lane.line = lane.upstream .. ":" .. lane.class
  lane.units = 1
  if lane.upstream == "calendar" then
    lane.units = tonumber(settings.weights[lane.operation]) or 1
  end
  return lane
end

-- Every window that a request of this lane takes a place in, the narrowest first: where several are full, the
-- asker is told the one that is its own, and others of its tenant may pass it.
local function windows_of(lane)
  if lane.windows then return lane.windows end
  local list = {}
  local function add(name, limit, label, options)
    local is_shared = options and options.is_shared or false
    local reserve = options and options.reserve or 0
    list[#list + 1] = {
      name = name, limit = math.max(1, math.floor(limit * (1 - reserve))), label = label, is_shared = is_shared,
    }
  end
  local reserve = settings.classReserve[lane.class] or 0
  if lane.upstream ~= "calendar" then
    add("U:" .. lane.user, scaled(settings.tokenPerUserPerMinute, "user:" .. lane.upstream .. ":" .. lane.user), "user-minute")
    add("P", scaled(settings.tokenPerMinute, "project:" .. lane.upstream), "project-minute", { is_shared = true })
    lane.windows = list
    return list
  end
  local project = scaled(settings.projectPerMinute, "project:calendar")
  local user = scaled(settings.userPerMinute, "user:calendar:" .. lane.user)
  if WRITES[lane.operation] and settings.writesPerAccountPerMinute > 0 then
    add("w:" .. lane.account, settings.writesPerAccountPerMinute, "writes-per-account")
  end
  add("u:" .. lane.user, user, "user-minute", { reserve = reserve })
  local tenant, consumer = load_tenant(lane.tenant), load_consumer(lane.consumer)
  if tenant.cap < 1 then add("t:" .. lane.tenant, project * tenant.cap, "tenant-cap") end
  if WATCHES[lane.operation] and settings.watchAndStopPerMinute > 0 then
    add("s", settings.watchAndStopPerMinute, "watch-and-stop")
  end
  if consumer.cap < 1 then add("c:" .. lane.consumer, project * consumer.cap, "consumer-cap") end
  if lane.class == "backfill" and settings.backfillShare < 1 then
    add("b", project * settings.backfillShare, "backfill-share")
  end
  add("p", project, "project-minute", { is_shared = true, reserve = reserve })
  lane.windows = list
  return list
end

-- A heavy ask at the head of its class keeps its place before lighter asks of the same tenant that come from other
-- processes or lanes: else a PATCH would wait for as long as reads keep coming. "asker:operation:units:until"
local heads_waiting = nil

local function head_before(lane, window)
  if heads_waiting == nil then heads_waiting = redis.call("HLEN", HEADS) end
  if heads_waiting == 0 then return 0 end
  local field = window.name .. SEPARATOR .. lane.class .. SEPARATOR .. lane.tenant
  local stored = redis.call("HGET", HEADS, field)
  if not stored then return 0 end
  local owner, units, gone_at = string.match(stored, "^(.*):(%d+):(%d+)$")
  if tonumber(gone_at) <= now then
    redis.call("HDEL", HEADS, field)
    return 0
  end
  if owner == asker .. ":" .. lane.operation or tonumber(units) <= lane.units then return 0 end
  return tonumber(units)
end

local function keep_head(lane, window, wait_until)
  if lane.units <= 1 then return end
  redis.call("HSET", HEADS, window.name .. SEPARATOR .. lane.class .. SEPARATOR .. lane.tenant,
    asker .. ":" .. lane.operation .. ":" .. whole(lane.units) .. ":" .. whole(wait_until + settings.holdMs))
  heads_waiting = (heads_waiting or 0) + 1
end

local function leave_head(lane)
  if lane.units <= 1 then return end
  for _, window in ipairs(windows_of(lane)) do
    redis.call("HDEL", HEADS, window.name .. SEPARATOR .. lane.class .. SEPARATOR .. lane.tenant)
  end
end

-- ── Pacing: a burst would repeat every window for ever ───────────────────────────────────────────────────────

local function pace_cost_ms(lane)
  local reserve = settings.classReserve[lane.class] or 0
  return lane.units * span_ms() / (scaled(settings.projectPerMinute, "project:calendar") * (1 - reserve))
end

local function is_paced(lane)
  return lane.upstream == "calendar" and lane.rank > 1
end

local function pace_credit_ms()
  return settings.pacingBurst * span_ms() - math.max(0, number_of("pacedUntil", 0) - now)
end

-- ── Fair queue: start-time fair queuing over the tenants of a line ───────────────────────────────────────────
-- A tenant that runs ahead of those that wait is held, unless there is room for them to catch up as well. Who waits
-- for a limit of its own, has nothing left to ask, or does not come back is not in the active set: the queue
-- conserves work.

local lines = {}
local shared_spacing_ms = nil

local function active_askers()
  return math.max(1, redis.call("ZCOUNT", ROSTER, whole(now - settings.settleMs), "+inf"))
end

-- How far apart the asks of one process should be when everyone waits for the same room: together the fleet asks
-- half as often as room for one request appears.
local function spacing_ms()
  if not shared_spacing_ms then
    local interval_ms = span_ms() / scaled(settings.projectPerMinute, "project:calendar")
    shared_spacing_ms = math.min(settings.spacingMaxMs, math.max(5, 2 * active_askers() * interval_ms))
  end
  return shared_spacing_ms
end

local function load_line(name)
  local line = lines[name]
  if line then return line end
  line = {
    name = name, tags = LINE .. name .. ":tags", active = LINE .. name .. ":active",
    until_key = LINE .. name .. ":until", demand = LINE .. name .. ":demand",
    time = number_of("time:" .. name, 0), groups = {}, group_of = {}, group_count = 0,
  }
  for _, gone in ipairs(redis.call("ZRANGEBYSCORE", line.until_key, "-inf", whole(now))) do
    redis.call("ZREM", line.until_key, gone)
    redis.call("ZREM", line.active, gone)
    redis.call("HDEL", line.demand, gone)
  end
  line.has_active = redis.call("ZCARD", line.active) > 0
  lines[name] = line
  return line
end

local function join_line(lane)
  local line = load_line(lane.line)
  local group = line.group_of[lane.tenant]
  if not group then
    local tag = tonumber(redis.call("ZSCORE", line.tags, lane.tenant) or nil) or 0
    group = { tenant = lane.tenant, tag = math.max(tag, line.time), lanes = {}, turn = 1, blocked = {}, demand = 0 }
    line.group_of[lane.tenant] = group
    line.group_count = line.group_count + 1
    line.groups[line.group_count] = group
  end
  group.lanes[#group.lanes + 1] = lane
end

-- The active tenants that are not asking now, least tag first; those that ask are served in order anyhow. As many as
-- decide: who is far ahead of them all is ahead of most.
local MOST_OTHERS = 32

local function others_of(line)
  if line.others then return line.others end
  line.others = {}
  if line.has_active then
    local flat = redis.call("ZRANGE", line.active, 0, MOST_OTHERS - 1, "WITHSCORES")
    for index = 1, #flat, 2 do
      if not line.group_of[flat[index]] then
        line.others[#line.others + 1] = { tenant = flat[index], tag = tonumber(flat[index + 1]) }
      end
    end
  end
  return line.others
end

local function load_other(line, other)
  if other.demand then return end
  other.demand = tonumber(redis.call("HGET", line.demand, other.tenant) or nil) or 0
  other.weight = load_tenant(other.tenant).weight
  other.due_until = 0
  if other.demand > 0 then
    other.due_until = (tonumber(redis.call("ZSCORE", line.until_key, other.tenant) or nil) or 0) - settings.holdMs
  end
end

-- Held: while one that is far behind and waits has yet to come for what was freed (its time to come is bounded, so
-- one that died holds nobody for long); after that, while there is no room for those behind to catch up.
local function is_ahead(lane, line, group, room)
  local tolerated = 2 * active_askers() + settings.heaviest
  local owed, is_beyond = 0, false
  for _, other in ipairs(others_of(line)) do
    if other.tag >= group.tag then break end
    load_other(line, other)
    if other.demand > 0 and group.tag - other.tag > tolerated then
      if now < other.due_until then return true end
      is_beyond = true
    end
    owed = owed + math.min(other.demand, (group.tag - other.tag) * other.weight)
  end
  return is_beyond and room < lane.units + owed
end

-- ── One ask ──────────────────────────────────────────────────────────────────────────────────────────────────

local function refuse(limit, wait_until, scope, detail)
  return { limit = limit, wait_until = wait_until, scope = scope, detail = detail or "" }
end

-- What cannot change while this batch is decided.
local function refuse_standing(lane)
  -- The day's count is safe only while somebody writes it to the database.
  if now - number_of("attendedMs", now) > settings.unattendedMs then
    return refuse("unattended", now + settings.askAgainMs, "upstream")
  end
  local stopped_until = number_of("stoppedUntil", 0)
  if stopped_until > now then return refuse("stopped", stopped_until, "upstream", state.stoppedReason) end
  local pause, target, is_wide = find_pause(lane)
  if pause then
    return refuse("pause", pause.ends_at, is_wide and target == "project" and "upstream" or "lane",
      target .. SEPARATOR .. pause.reason)
  end
  if not string.find(load_consumer(lane.consumer).classes, "," .. lane.class .. ",", 1, true) then
    return refuse("class-not-allowed", 0, "lane")
  end
  if WRITES[lane.operation] then
    local parked_until = tonumber(redis.call("ZSCORE", PARKS, lane.account) or nil) or 0
    if parked_until > now then return refuse("park", parked_until, "lane") end
  end
  local hold_until = load_scale("project:" .. lane.upstream).hold_until
  if hold_until > now then return refuse("throttled", hold_until, "upstream") end
  hold_until = load_scale("user:" .. lane.upstream .. ":" .. lane.user).hold_until
  if hold_until > now then return refuse("throttled", hold_until, "lane") end
  return nil
end

local function refuse_breaker(lane)
  local breaker = load_breaker(lane.upstream)
  if not breaker then return nil, false end
  if breaker.open_until > now then return refuse("breaker", breaker.open_until, "upstream"), false end
  if breaker.probe_until > now then
    return refuse("breaker", math.min(breaker.probe_until, now + settings.probePollMs), "upstream"), false
  end
  return nil, true
end

local function refuse_day(lane)
  if lane.upstream ~= "calendar" then return nil end
  local count = number_of("dayCount", 0)
  local reserved = settings.perDay * (settings.dayReserve[lane.class] or 0)
  local left = day_left_fraction()
  if count + 1 <= settings.perDay - reserved * left then return nil end
  local ends_at = number_of("dayEndsAt", now)
  local fits_at = ends_at
  if reserved > 0 and count + 1 <= settings.perDay then
    local length = math.max(1, ends_at - number_of("dayStartedAt", 0))
    fits_at = math.min(ends_at, ends_at - (settings.perDay - count - 1) / reserved * length)
  end
  return refuse("day", math.max(now + 1000, fits_at), "line")
end

local function refuse_windows(lane)
  local room = 0
  for _, limit in ipairs(windows_of(lane)) do
    local window = open_window(limit.name)
    local before = head_before(lane, limit)
    room = limit.limit - used_in(window)
    -- A limit below one request's weight would never let it go: alone in its window it may.
    local weight = math.min(lane.units, limit.limit)
    if room < weight + before then
      local wait_until = freed_at(window, weight + before - room)
      return refuse(limit.label, wait_until, limit.is_shared and "line" or "lane"), room, limit
    end
  end
  return nil, room, nil
end

local function judge(lane, line, group)
  local standing_refusal = lane.standing
  if standing_refusal == nil then
    standing_refusal = refuse_standing(lane) or false
    lane.standing = standing_refusal
  end
  if standing_refusal then return standing_refusal end
  local refusal, is_probe = refuse_breaker(lane)
  if refusal then return refusal end
  if lane.attempt == "retry" and retry_tokens() < 1 then
    return refuse("retry-tokens", now + (1 - retry_tokens()) / settings.retryPerSecond * 1000, "lane")
  end
  local full, room, limit = refuse_windows(lane)
  if full then
    keep_head(lane, limit, full.wait_until)
    return full
  end
  refusal = refuse_day(lane)
  if refusal then return refusal end
  if is_paced(lane) then
    local cost, credit = pace_cost_ms(lane), pace_credit_ms()
    if credit < 0 then return refuse("pacing", now - credit, "line") end
    room = math.min(room, credit / cost * lane.units)
  end
  if is_ahead(lane, line, group, room) then return refuse("fair-share", now + spacing_ms(), "lane") end
  return nil, is_probe
end

local function charge(lane, line, group, is_probe)
  for _, limit in ipairs(windows_of(lane)) do
    local window = open_window(limit.name)
    window.added = window.added + lane.units
  end
  if is_paced(lane) then
    remember("pacedUntil", math.max(number_of("pacedUntil", 0), now) + pace_cost_ms(lane))
  end
  if lane.attempt == "retry" then pay_retry_tokens(-1) end
  if lane.upstream == "calendar" then remember("dayCount", number_of("dayCount", 0) + 1) end
  if is_probe then
    local breaker = load_breaker(lane.upstream)
    breaker.probe_until = now + settings.probeTimeoutMs
    save_breaker(lane.upstream, breaker)
    lane.is_probe = true
  end
  local first_other = others_of(line)[1]
  line.time = math.max(line.time, math.min(group.tag, first_other and first_other.tag or group.tag))
  group.tag = group.tag + lane.units / load_tenant(lane.tenant).weight
  lane.granted = lane.granted + 1
end

-- What a refusal closes for the rest of the batch: nobody of this class or below may pass a shared "no"; a lighter
-- ask of the same tenant may not pass a heavier one at the limit that stopped it.
local function is_closed(lane, closed, group)
  local shut = closed[lane.upstream]
  if shut and lane.rank >= shut.rank then return shut.refusal end
  for _, limit in ipairs(windows_of(lane)) do
    local refusal = group.blocked[limit.name]
    if refusal then return refusal end
  end
  if lane.attempt == "retry" then return group.blocked.retry end
  return nil
end

local function close_after(refusal, lane, closed, group)
  if refusal.scope == "upstream" then
    closed[lane.upstream] = { rank = 0, refusal = refusal }
  elseif refusal.scope == "line" then
    local shut = closed[lane.upstream]
    if not shut or shut.rank > lane.rank then closed[lane.upstream] = { rank = lane.rank, refusal = refusal } end
  elseif refusal.limit == "retry-tokens" then
    group.blocked.retry = refusal
  else
    for _, limit in ipairs(windows_of(lane)) do
      if limit.label == refusal.limit then group.blocked[limit.name] = refusal end
    end
  end
end

local WAITS_FOR_SHARED_ROOM = {
  ["project-minute"] = true, pacing = true, ["fair-share"] = true,
}

local function serve_next(line, group, closed)
  local lane = group.lanes[group.turn]
  local refusal = is_closed(lane, closed, group)
  local is_probe = false
  if not refusal then
    refusal, is_probe = judge(lane, line, group)
    if refusal then close_after(refusal, lane, closed, group) end
  end
  if refusal then
    lane.refusal = refusal
    if WAITS_FOR_SHARED_ROOM[refusal.limit] then
      group.waits_until = math.min(group.waits_until or refusal.wait_until, refusal.wait_until)
      group.demand = group.demand + (lane.count - lane.granted + lane.more) * lane.units
    end
    table.remove(group.lanes, group.turn)
  else
    if lane.granted == 0 then leave_head(lane) end
    charge(lane, line, group, is_probe)
    if lane.granted == lane.count then
      if lane.more > 0 then
        group.waits_until = math.min(group.waits_until or now + spacing_ms(), now + spacing_ms())
        group.demand = group.demand + lane.more * lane.units
      end
      table.remove(group.lanes, group.turn)
    else
      group.turn = group.turn + 1
    end
  end
  if group.turn > #group.lanes then group.turn = 1 end
end

local function serve_line(line, closed)
  while true do
    local chosen = nil
    for _, group in ipairs(line.groups) do
      if #group.lanes > 0 and (not chosen or group.tag < chosen.tag) then chosen = group end
    end
    if not chosen then return end
    serve_next(line, chosen, closed)
  end
end

-- Who waits is active until it should have asked again; who was served a little longer than it takes to send and
-- ask again: else the fastest asker would set the virtual time, and the others lose what they are owed.
local function active_until(group)
  if not group.waits_until then return now + settings.askAgainMs end
  return math.min(group.waits_until, now + settings.askAgainMs) + spacing_ms() + settings.holdMs
end

local function save_line(line)
  for _, group in ipairs(line.groups) do
    if group.tag > line.time then
      redis.call("ZADD", line.tags, string.format("%.6f", group.tag), group.tenant)
    end
    redis.call("ZADD", line.active, string.format("%.6f", group.tag), group.tenant)
    redis.call("ZADD", line.until_key, whole(active_until(group)), group.tenant)
    redis.call("HSET", line.demand, group.tenant, whole(group.demand))
  end
  redis.call("ZREMRANGEBYSCORE", line.tags, "-inf", string.format("(%.6f", line.time))
  remember("time:" .. line.name, line.time)
end

-- ── Who used it ──────────────────────────────────────────────────────────────────────────────────────────────

local function count_usage(fields, amount)
  local field = table.concat(fields, SEPARATOR)
  if redis.call("HEXISTS", USAGE, field) == 0 and redis.call("HLEN", USAGE) >= settings.usageRows then
    fields[1] = "other"
    field = table.concat(fields, SEPARATOR)
  end
  -- A flood of other names cannot pass the bound either: what is left then is a few closed sets.
  if redis.call("HEXISTS", USAGE, field) == 0 and redis.call("HLEN", USAGE) >= settings.usageRows * 1.25 then
    fields[2], fields[4], fields[7] = "other", "other", ""
    field = table.concat(fields, SEPARATOR)
  end
  redis.call("HINCRBY", USAGE, field, amount)
end

local function count_spender(lane)
  local member = table.concat({ lane.tenant, lane.consumer, lane.class }, SEPARATOR)
  redis.call("ZINCRBY", SPENDERS, lane.granted, member)
end

local function take_report()
  local outcome, upstream, tenant, account, user, consumer, class, name, attempt =
    next_argument(), next_argument(), next_argument(), next_argument(), next_argument(), next_argument(),
    next_argument(), next_argument(), next_argument()
  local is_probe, detail, for_ms, count = next_argument() == "1", next_argument(), next_number(), next_number()
  local reason = next_argument()
  count_usage({ tenant, consumer, class, name, attempt, outcome, reason }, count)
  if is_probe then settle_probe(upstream, outcome) end
  if outcome == "succeeded" then
    pay_retry_tokens(settings.retryPerSuccess * count)
    local was_told = state.stoppedTold and state.stoppedTold ~= ""
    if was_told and upstream == "calendar" and number_of("stoppedUntil", 0) <= now then remember("stoppedTold", "") end
  elseif outcome == "unused" then
    if attempt == "retry" then pay_retry_tokens(count) end
  elseif outcome == "throttled" then
    throttled(upstream, user, detail, for_ms)
  elseif outcome == "writes-parked" then
    redis.call("ZADD", PARKS, whole(now + for_ms), account)
  elseif outcome == "project-stopped" then
    remember("stoppedUntil", whole(now + for_ms))
    remember("stoppedReason", detail)
  end
end

local function take_reports()
  local count = next_number()
  for _ = 1, count do
    if settings then take_report() else cursor = cursor + 14 end
  end
end

-- ── Operations ───────────────────────────────────────────────────────────────────────────────────────────────

local operations = {}

local function answer_lane(lane)
  local refusal = lane.refusal
  local tag = string.format("%.6f", load_line(lane.line).group_of[lane.tenant].tag)
  if not refusal then return { lane.granted, lane.is_probe and 1 or 0, "", "0", "", tag, "" } end
  local wait_ms = math.max(1, math.ceil(refusal.wait_until - now))
  if refusal.limit == "class-not-allowed" or (refusal.limit == "pause" and refusal.wait_until == 0) then wait_ms = -1 end
  return { lane.granted, lane.is_probe and 1 or 0, refusal.limit, whole(wait_ms), refusal.scope, tag, refusal.detail }
end

local function decide(lanes)
  local order, closed, total = {}, {}, 0
  for _, lane in ipairs(lanes) do
    lane.granted = 0
    join_line(lane)
    if not lines[lane.line].is_listed then
      lines[lane.line].is_listed = true
      lines[lane.line].rank = lane.rank
      order[#order + 1] = lines[lane.line]
    end
  end
  table.sort(order, function(a, b)
    if a.rank ~= b.rank then return a.rank < b.rank end
    return a.name < b.name
  end)
  for _, line in ipairs(order) do
    serve_line(line, closed)
    save_line(line)
  end
  for _, lane in ipairs(lanes) do
    total = total + lane.granted
    if lane.granted > 0 and lane.upstream == "calendar" then count_spender(lane) end
  end
  if redis.call("ZCARD", SPENDERS) > settings.usageRows then
    redis.call("ZREMRANGEBYRANK", SPENDERS, 0, math.floor(settings.usageRows / 10))
  end
  if total > 0 then remember("sequence", whole(number_of("sequence", 0) + total)) end
  save_windows()
end

-- Whoever is told so looks again soon, so that the newcomer waits no longer than it must.
local function is_someone_settling()
  return now - number_of("settlingMs", 0) < settings.settleMs and "1" or "0"
end

function operations.ask()
  take_reports()
  local lanes, answers, count = {}, {}, next_number()
  if standing() == "open" then
    -- An asker that still holds an older epoch is told the new one and asks again.
    if asker_epoch_number > 0 and asker_epoch ~= state.epoch then
      save_changes()
      return { header("stale") }
    end
    enrol()
    turn_day()
    for index = 1, count do
      lanes[index] = read_lane()
      lanes[index].more = next_number()
    end
    if is_settled() then
      decide(lanes)
      for index, lane in ipairs(lanes) do answers[index] = answer_lane(lane) end
    else
      remember("settlingMs", whole(now))
      for index in ipairs(lanes) do
        answers[index] = { 0, 0, "settling", whole(settings.settlePollMs), "upstream", "0", "" }
      end
    end
    save_changes()
    return {
      header("open"),
      { whole(settings.useWithinMs), whole(span_ms()), whole(settings.clockToleranceMs), whole(spacing_ms()),
        whole(settings.askAgainMs), is_someone_settling(), whole(settings.settleMs) },
      redis.call("ZRANGE", ROSTER, 0, -1),
      answers,
    }
  end
  save_changes()
  return { header(standing()) }
end

-- A sensor tripped. Every process sees the same outage: only the first one opens, a probe alone prolongs.
function operations.trip()
  local upstream = next_argument()
  if standing() == "open" and not load_breaker(upstream) then open_breaker(upstream, settings.breakerFirstMs) end
  save_changes()
  return { header(standing()) }
end

-- An asker found that this clock stepped. The ages that survivors told are moments of that clock: they go too.
function operations.distrust()
  local reason = next_argument()
  if standing() ~= "open" then
    redis.call("DEL", SEEDS)
  elseif asker_epoch == state.epoch then
    forget(reason)
  end
  save_changes()
  return { header(standing()) }
end

-- What an asker remembers of its grants, as ages. Kept until an epoch opens; sent again, it replaces itself.
function operations.reseed()
  local seed = {
    epochNumber = asker_epoch_number, sequence = asker_sequence, isWitness = next_argument() == "1",
    roster = {}, grants = {},
  }
  for index = 1, next_number() do seed.roster[index] = next_argument() end
  for index = 1, next_number() do
    seed.grants[index] = {
      at = now - next_number(), upstream = next_argument(), class = next_argument(), tenant = next_argument(),
      account = next_argument(), user = next_argument(), consumer = next_argument(), operation = next_argument(),
      attempt = next_argument(), count = next_number(),
    }
  end
  if standing() ~= "open" then redis.call("HSET", SEEDS, asker, cjson.encode(seed)) end
  save_changes()
  return { header(standing()) }
end

local function load_seeds()
  local seeds = {}
  for name, encoded in pairs(load_hash(SEEDS)) do seeds[name] = cjson.decode(encoded) end
  return seeds
end

-- Who is on a survivor's roster and has not re-seeded; and whether a survivor of the last epoch watched to its end.
local function examine_seeds(last_epoch_number)
  local seeds, missing, has_witness = load_seeds(), {}, false
  for _, seed in pairs(seeds) do
    if seed.isWitness and seed.epochNumber == last_epoch_number then has_witness = true end
    for _, member in ipairs(seed.roster) do
      if not seeds[member] then missing[member] = true end
    end
  end
  return seeds, next(missing) == nil, has_witness
end

local SWEPT_AT_ONCE = 20

-- What is over is removed when it is looked at; a few are looked at now and then, so that none stays for ever.
local function sweep()
  for _, scope in ipairs(redis.call("HRANDFIELD", SCALES, SWEPT_AT_ONCE)) do load_scale(scope) end
  for _, field in ipairs(redis.call("HRANDFIELD", HEADS, SWEPT_AT_ONCE)) do
    local gone_at = tonumber(string.match(redis.call("HGET", HEADS, field), ":(%d+)$"))
    if gone_at <= now then redis.call("HDEL", HEADS, field) end
  end
  redis.call("ZREMRANGEBYSCORE", PARKS, "-inf", whole(now))
end

-- The day's count is in the database as of now.
-- Why the project was stopped, told to one process of the fleet: a stop that begins again when it runs out is told once,
-- until a request has succeeded in between.
local function untold_stop()
  local is_stopped = number_of("stoppedUntil", 0) > now
  if not is_stopped or state.stoppedTold == state.stoppedReason then return "" end
  remember("stoppedTold", state.stoppedReason)
  return state.stoppedReason
end

function operations.attend()
  local alarm = ""
  if standing() == "open" then
    remember("attendedMs", whole(now))
    sweep()
    alarm = untold_stop()
  end
  save_changes()
  return { header(standing()), alarm }
end

-- For openers: also enrols them, so that somebody who compares clocks is heard every second.
function operations.observe()
  local last_epoch_number = next_number()
  local _, is_complete, has_witness = examine_seeds(last_epoch_number)
  local status = standing()
  if status == "open" and asker_epoch_number > 0 and asker_epoch ~= state.epoch then status = "stale" end
  if status == "open" then
    enrol()
    turn_day()
  end
  save_changes()
  local answer = header(status)
  return {
    answer, { is_complete and "1" or "0", has_witness and "1" or "0", state.windows or "0", state.settingsVersion or "" },
    { state.dayStartedAt or "0", state.dayEndsAt or "0", whole(number_of("dayCount", 0)) },
    redis.call("ZRANGE", ROSTER, 0, -1),
    settings and { whole(settings.useWithinMs), whole(span_ms()), whole(settings.clockToleranceMs), "0",
      whole(settings.askAgainMs), is_someone_settling(), whole(settings.settleMs) } or {},
  }
end

local function replace_hash(key, count, read_value)
  redis.call("DEL", key)
  for _ = 1, count do
    local field = next_argument()
    redis.call("HSET", key, field, read_value())
  end
end

local function read_settings()
  local version, encoded = next_argument(), next_argument()
  replace_hash(TENANTS, next_number(), next_argument)
  replace_hash(CONSUMERS, next_number(), next_argument)
  replace_hash(PAUSES, next_number(), next_argument)
  return version, encoded
end

-- Settings are in force with the next decision. Another window length needs a memory of another length.
function operations.configure()
  local version, encoded = read_settings()
  if standing() == "open" then
    local window_ms = settings.windowMs
    settings = cjson.decode(encoded)
    if settings.windowMs > window_ms then forget("window-changed") end
  end
  if state.status then
    remember("settings", encoded)
    remember("settingsVersion", version)
  end
  save_changes()
  return { header(standing()) }
end

local function plant(seeds)
  local grants = {}
  for _, seed in pairs(seeds) do
    for _, grant in ipairs(seed.grants) do
      if grant.at + span_ms() >= now and RANKS[grant.class] then grants[#grants + 1] = grant end
    end
  end
  table.sort(grants, function(a, b) return a.at < b.at end)
  for _, grant in ipairs(grants) do
    grant.units = grant.upstream == "calendar" and (tonumber(settings.weights[grant.operation]) or 1) or 1
    for _, limit in ipairs(windows_of(grant)) do
      local window = open_window(limit.name)
      append(window, grant.at, grant.units * grant.count)
      redis.call("PEXPIRE", window.key, whole(2 * span_ms()))
    end
  end
end

-- Requests to the calendar that survivors were granted since then. Ages only err to the younger side: never too few.
local function told_after(seeds, since)
  local requests = 0
  for _, seed in pairs(seeds) do
    for _, grant in ipairs(seed.grants) do
      if grant.upstream == "calendar" and grant.at >= since then requests = requests + grant.count end
    end
  end
  return requests
end

-- Modes: `first` no epoch ever opened; `clean` the last one closed long enough ago; `intact` it closed cleanly and
-- this memory is complete up to then; `reseeded` everyone on the survivors' rosters has re-seeded; `waited` W+J+D
-- have passed since nothing was granted any more.
function operations.open()
  local mode, epoch_number, epoch = next_argument(), next_number(), next_argument()
  local last_epoch_number, closed_epoch, closed_sequence = next_number(), next_argument(), next_number()
  local day_started_at, day_ends_at, day_count = next_argument(), next_argument(), next_number()
  local day_hidden, told_since = next_number(), next_number()
  local status = standing()
  if status == "open" or status == "other-format" then return { header(status), "not-needed" } end
  if number_of("epochNumber", 0) >= epoch_number then return { header(status), "older" } end
  local seeds, is_complete, has_witness = examine_seeds(last_epoch_number)
  if mode == "reseeded" and not (is_complete and has_witness) then return { header(status), "incomplete" } end
  local is_intact = status == "closed" and state.epoch == closed_epoch
    and number_of("sequence", -1) == closed_sequence and now >= number_of("lastMs", 0)
  if mode == "intact" and not is_intact then return { header(status), "not-intact" } end

  local kept = {}
  for field, value in pairs(state) do
    if string.sub(field, 1, 8) == "breaker:" or string.sub(field, 1, 7) == "stopped" then kept[field] = value end
  end
  local old_windows, old_sequence = state.windows, number_of("sequence", 0)
  redis.call("DEL", STATE, ROSTER, JOINED, ACKS, SEEDS, HEADS)
  state, changes = {}, {}
  for field, value in pairs(kept) do remember(field, value) end
  local version, encoded = read_settings()
  settings = cjson.decode(encoded)
  windows, scales = {}, {}
  remember("format", FORMAT)
  remember("status", "open")
  remember("reason", mode)
  remember("since", whole(now))
  remember("server", server_identity())
  remember("epochNumber", whole(epoch_number))
  remember("epoch", epoch)
  remember("sequence", mode == "intact" and whole(old_sequence) or "0")
  remember("windows", mode == "intact" and old_windows or whole(epoch_number))
  remember("settings", encoded)
  remember("settingsVersion", version)
  remember("dayStartedAt", day_started_at)
  remember("dayEndsAt", day_ends_at)
  if mode == "reseeded" and told_since >= 0 then day_hidden = math.min(day_hidden, told_after(seeds, told_since)) end
  remember("dayCount", whole(day_count + day_hidden))
  remember("retryTokens", "0")
  remember("retryAt", whole(now))
  remember("lastMs", whole(now))
  remember("attendedMs", whole(now))
  if mode ~= "intact" then plant(seeds) end
  -- The opener and those who re-seeded have known each other before: none of them is a newcomer.
  seeds[asker] = seeds[asker] or { grants = {} }
  for member in pairs(seeds) do
    redis.call("ZADD", ROSTER, whole(now), member)
    redis.call("HSET", JOINED, member, "founder")
  end
  turn_day()
  save_changes()
  return { header("open"), "opened" }
end

-- This asker asks no more. It stays on the roster for as long as its grants count. With `may close`, the epoch
-- closes when nobody else asks: then nothing is granted until a process with the database opens again.
function operations.retire()
  local may_close = next_argument() == "1"
  local outcome = "left"
  if standing() == "open" then
    redis.call("HSET", JOINED, asker, "retired")
    local others = false
    for _, member in ipairs(redis.call("ZRANGE", ROSTER, 0, -1)) do
      if redis.call("HGET", JOINED, member) ~= "retired" then others = true end
    end
    if may_close and not others then
      remember("status", "closed")
      remember("reason", "clean")
      remember("since", whole(now))
      remember("lastMs", whole(now))
      outcome = "closed"
    end
  end
  save_changes()
  return { header(standing()), outcome }
end

-- An operator lifts what the ledger has learnt: "stop", "breaker:UPSTREAM", "park:ACCOUNT", "scale:SCOPE".
function operations.lift()
  local what = next_argument()
  if what == "stop" then
    remember("stoppedUntil", "0")
  elseif string.sub(what, 1, 8) == "breaker:" then
    remember(what, "")
  elseif string.sub(what, 1, 5) == "park:" then
    redis.call("ZREM", PARKS, string.sub(what, 6))
  elseif string.sub(what, 1, 6) == "scale:" then
    redis.call("HDEL", SCALES, string.sub(what, 7))
  end
  if state.status then save_changes() end
  return { header(standing()) }
end

-- Usage leaves in two steps, so that a drain that dies in between is repeated under the same batch id, not lost.
function operations.take_usage()
  local batch = next_argument()
  if redis.call("EXISTS", USAGE_TAKEN) == 0 then
    if redis.call("EXISTS", USAGE) == 0 then return { header(standing()), "", {} } end
    redis.call("RENAME", USAGE, USAGE_TAKEN)
    redis.call("HSET", USAGE_TAKEN, "batch", batch)
  end
  return { header(standing()), redis.call("HGET", USAGE_TAKEN, "batch"), redis.call("HGETALL", USAGE_TAKEN) }
end

function operations.confirm_usage()
  if redis.call("HGET", USAGE_TAKEN, "batch") == next_argument() then redis.call("DEL", USAGE_TAKEN) end
  return { header(standing()) }
end

local function describe_scales()
  local list = {}
  for scope in pairs(load_hash(SCALES)) do
    local scale = load_scale(scope)
    if scale.factor < 1 or scale.hold_until > now then
      list[#list + 1] = { scope = scope, factor = scale.factor, holdMs = math.max(0, scale.hold_until - now) }
    end
  end
  return list
end

local function describe_parks()
  local list, flat = {}, redis.call("ZRANGEBYSCORE", PARKS, whole(now), "+inf", "WITHSCORES", "LIMIT", 0, 200)
  for index = 1, #flat, 2 do
    list[#list + 1] = { account = flat[index], forMs = tonumber(flat[index + 1]) - now }
  end
  return list
end

local function describe_breakers()
  local list = {}
  for _, upstream in ipairs({ "calendar", "oauth-token" }) do
    local breaker = load_breaker(upstream)
    local phase = "closed"
    if breaker then phase = (breaker.open_until > now and "open") or (breaker.probe_until > now and "probing") or "due" end
    list[#list + 1] = {
      upstream = upstream, state = phase, forMs = breaker and math.max(0, breaker.open_until - now) or 0,
      waitMs = breaker and breaker.wait_ms or 0,
    }
  end
  return list
end

local function describe_spenders()
  local list, flat = {}, redis.call("ZREVRANGE", SPENDERS, 0, 49, "WITHSCORES")
  for index = 1, #flat, 2 do
    list[#list + 1] = { who = flat[index], requests = tonumber(flat[index + 1]) }
  end
  return list
end

-- ── What could be granted within a moment, for those who decide how much work to begin ──────────────────────────
-- It asks for nothing and takes nothing. Limits of a user or a tenant are left out: whose work it will be is not
-- known yet.

local OWN_LIMITS = { ["user-minute"] = true, ["tenant-cap"] = true }

-- What leaves the window by then. Searched from the old end, where a moment's worth lies.
local function freed_by(window, moment)
  local freed, low, high, step = 0, 0, redis.call("LLEN", window.key), 1
  while low < high do
    local index = math.min(low + step, high) - 1
    local at, _, after = parse_entry(redis.call("LINDEX", window.key, index))
    if at + span_ms() < moment then
      freed, low, step = after - window.base, index + 1, step * 2
    else
      high, step = index, math.max(1, math.floor(step / 2))
    end
  end
  return freed
end

local function room_of_day(lane)
  local reserved = settings.perDay * (settings.dayReserve[lane.class] or 0)
  return math.floor(settings.perDay - reserved * day_left_fraction() - number_of("dayCount", 0))
end

local function room_of_pacing(lane, moment)
  local credit = pace_credit_ms() + moment - now
  -- The last one goes out on what is left.
  return credit < 0 and 0 or math.floor(credit / pace_cost_ms(lane)) + 1
end

-- Units that calls of this class and of those above it wait for, as their askers said last.
local function waited_for(lane)
  local units = 0
  for class, rank in pairs(RANKS) do
    if rank <= lane.rank then
      local line = load_line(lane.upstream .. ":" .. class)
      for _, demand in ipairs(redis.call("HVALS", line.demand)) do units = units + tonumber(demand) end
    end
  end
  return units
end

local function room_by(lane, moment)
  local refusal, is_probe = refuse_standing(lane), false
  if not refusal then refusal, is_probe = refuse_breaker(lane) end
  if refusal and (refusal.wait_until == 0 or refusal.wait_until > moment) then
    return { 0, refusal.limit, refusal.detail }
  end
  if is_probe or (refusal and refusal.limit == "breaker") then return { 1, "", "" } end
  local room, limit = room_of_day(lane), "day"
  local function consider(most, label)
    if most < room then room, limit = most, label end
  end
  for _, one in ipairs(windows_of(lane)) do
    if not OWN_LIMITS[one.label] then
      local window = open_window(one.name)
      local free = one.limit - used_in(window) + freed_by(window, moment)
      consider(math.floor(free / math.min(lane.units, one.limit)), one.label)
    end
  end
  if is_paced(lane) then consider(room_of_pacing(lane, moment), "pacing") end
  if room < 1 then return { 0, limit, "" } end
  return { math.max(0, room - math.ceil(waited_for(lane) / lane.units)), "", "" }
end

function operations.room()
  local within, count, rooms = next_number(), next_number(), {}
  if standing() ~= "open" then return { header(standing()), rooms } end
  turn_day()
  for index = 1, count do rooms[index] = room_by(read_lane(), now + within) end
  save_changes()
  return { header("open"), rooms }
end

function operations.snapshot()
  local answer = header(standing())
  if standing() ~= "open" then return { answer, "" } end
  turn_day()
  local function window(name, limit)
    return { limit = limit, used = used_in(open_window(name)) }
  end
  local project_limit = scaled(settings.projectPerMinute, "project:calendar")
  local snapshot = {
    windowMs = settings.windowMs,
    project = window("p", project_limit),
    configuredProjectLimit = settings.projectPerMinute,
    token = window("P", scaled(settings.tokenPerMinute, "project:oauth-token")),
    user = { limit = settings.userPerMinute },
    day = {
      limit = settings.perDay, used = number_of("dayCount", 0), startedMsAgo = now - number_of("dayStartedAt", now),
      endsInMs = number_of("dayEndsAt", now) - now,
    },
    retryTokens = retry_tokens(), askers = active_askers(),
    stop = { reason = state.stoppedReason or "", forMs = math.max(0, number_of("stoppedUntil", 0) - now) },
    breakers = describe_breakers(), scales = describe_scales(), parks = describe_parks(),
    spenders = describe_spenders(), pauses = redis.call("HGETALL", PAUSES),
  }
  save_changes()
  return { answer, cjson.encode(snapshot) }
end

examine_memory()
local operate = operations[operation]
if not operate then return redis.error_reply("Unknown ledger operation " .. tostring(operation)) end
return operate()
