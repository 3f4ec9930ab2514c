/**
 * Room in memory for large bodies: so many at once are read, the others wait in their sockets.
 *
 * States of a place: waiting → taken → left. It may be left while it waits.
 */
export interface BodyRoom {
  /** `onTaken` is called once, at once or when another place is left, in the order of entering. */
  readonly enter: (onTaken: () => void) => BodyPlace;
}

export interface BodyPlace {
  /** Lets the next one in; more than once is once. */
  readonly leave: () => void;
}

interface Waiting {
  readonly onTaken: () => void;
}

export function createBodyRoom(places: number): BodyRoom {
  const waiting = new Set<Waiting>();
  let taken = 0;

  function letNextIn(): void {
    const [next] = waiting;
    if (!next || taken >= places) return;
    waiting.delete(next);
    taken += 1;
    next.onTaken();
  }

  return {
    enter: (onTaken) => {
      let state: "waiting" | "taken" | "left" = "waiting";
      const self: Waiting = {
        onTaken: () => {
          state = "taken";
          onTaken();
        },
      };
      waiting.add(self);
      letNextIn();
      return {
        leave: () => {
          waiting.delete(self);
          if (state === "taken") taken -= 1;
          state = "left";
          letNextIn();
        },
      };
    },
  };
}
