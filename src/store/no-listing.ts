/** The columns of a calendar without an unfinished listing. */
export const NO_LISTING = {
  listing_kind: null,
  listing_page_token: null,
  listing_started_at: null,
  listing_pages: 0,
  listing_fingerprint: null,
  listing_requested: null,
} as const;
