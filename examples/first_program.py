"""Two participants join a room, and one sends a message to the other."""

import asyncio

from meshagent.api import RoomClient, websocket_protocol


def join(name: str) -> RoomClient:
    return RoomClient(protocol=websocket_protocol(participant_name=name, room_name="hello"))


async def main() -> None:
    async with join("alice") as alice, join("bob") as bob:
        heard = asyncio.get_running_loop().create_future()
        bob.messaging.on("message", lambda message: heard.set_result(message.message["text"]))
        await bob.messaging.enable()
        await alice.messaging.send("hello everyone!")
        print("bob heard:", await heard)


asyncio.run(main())
