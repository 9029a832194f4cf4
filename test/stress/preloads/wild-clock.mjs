// Runs before the program: the wall clock jumps. Each look at it adds the next of CLOCK_SHIFTS, milliseconds, in turn;
// with one of them it is wrong and steady. Timers and the monotonic clock go on as they are.
import process from 'node:process';

const shifts = process.env.CLOCK_SHIFTS.split(',').map(Number);
const RealDate = globalThis.Date;
let looks = 0;

function now() {
  looks += 1;
  return RealDate.now() + shifts[looks % shifts.length];
}

globalThis.Date = class Date extends RealDate {
  constructor(...args) {
    super(...(args.length === 0 ? [now()] : args));
  }
  static now() {
    return now();
  }
};
