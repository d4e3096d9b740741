#!/bin/sh
# A timer of less than half a millisecond fires at once under uvloop, and due timers overtake callbacks.
#
# Versions: uvloop 0.23.0 (asyncio of the Python that runs the script, 3.11 or later)
# Expected: `call_later(0.0004, …)` fires after 0.4 ms or later, as in asyncio. When a timer has become due while the
#   loop was busy, callbacks that `call_soon` queued before it was due run first.
# Observed: uvloop rounds delays to whole milliseconds, to the nearest: 0.4 ms is no delay at all, so that a loop of
#   short sleeps spins. Timers that are due run before the callbacks that were queued earlier.
# In the product: the corker, which waits for less than 5 ms, measures with `perf_counter` and does not sleep for less
#   than a millisecond (`src/meshagent/server/websocket/corker.py`).
. "$(dirname "$0")/lib.sh"
install uvloop==0.23.0
run_python <<'PY'
import asyncio
import time

import uvloop


async def shortest(delay: float) -> float:
    loop = asyncio.get_running_loop()
    found = []
    for _ in range(50):
        fired = loop.create_future()
        started = time.perf_counter()
        loop.call_later(delay, fired.set_result, None)
        await fired
        found.append(time.perf_counter() - started)
    return min(found)


async def main() -> None:
    for delay in (0.0004, 0.0006, 0.002):
        early = await shortest(delay) < delay * 0.9
        print(f"  {delay * 1000:g} ms:", "earlier than that" if early else "not earlier")
    loop = asyncio.get_running_loop()
    order: list[str] = []
    loop.call_later(0.001, order.append, "timer")
    loop.call_soon(order.append, "callback")
    time.sleep(0.02)  # the timer becomes due while the loop is busy
    await asyncio.sleep(0.02)
    print("  order:", ", ".join(order))


for name, factory in (("asyncio", asyncio.new_event_loop), ("uvloop", uvloop.new_event_loop)):
    print(name)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
PY
expect <<'END'
asyncio
  0.4 ms: not earlier
  0.6 ms: not earlier
  2 ms: not earlier
  order: callback, timer
uvloop
  0.4 ms: earlier than that
  0.6 ms: not earlier
  2 ms: not earlier
  order: timer, callback
END
