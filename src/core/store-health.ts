/**
 * Whether the database can take what would be fetched now (I13): the guard asks before each request
 * of background work. A program without a database always can.
 */
export interface StoreHealth {
  canStore(): boolean;
}
