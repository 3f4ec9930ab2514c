/** Every metric that Ballast exposes, besides the process metrics of the client library. Public: dashboards and alerts use them. */
export const METRIC_NAMES = {
  googleRequests: "ballast_google_requests_total",
  googleRequestDuration: "ballast_google_request_duration_seconds",
  permitWait: "ballast_permit_wait_seconds",
  refreshes: "ballast_refreshes_total",
  refreshDuration: "ballast_refresh_duration_seconds",
  eventsChanged: "ballast_events_changed_total",
  channelsOpened: "ballast_push_channels_opened_total",
  channels: "ballast_push_channels",
  notifications: "ballast_notifications_total",
  calendars: "ballast_calendars",
  backlog: "ballast_backlog_calendars",
  jobs: "ballast_jobs_total",
  jobDuration: "ballast_job_duration_seconds",
  jobQueueWait: "ballast_job_queue_wait_seconds",
  unparseableJobs: "ballast_unparseable_jobs_total",
} as const;
