"""One true WebRTC participant as a process: joins a room, sends a picture, says when it sees the other's, and leaves when told.

It reads one line of JSON (``url``, ``token``), prints one line of JSON for each thing that happens, and leaves when its input
ends. The token comes by standard input, so that it stands in no list of processes.
"""

import asyncio
import json
import sys
import time

from livekit import rtc

_WIDTH, _HEIGHT, _PAUSE_S = 160, 120, 0.2


def _say(what: str, **more: object) -> None:
    print(json.dumps({"what": what, "at": time.time(), **more}), flush=True)


async def _watch(track: rtc.Track) -> None:
    async for _ in rtc.VideoStream(track):
        _say("sees")
        return


async def _film(source: rtc.VideoSource) -> None:
    picture = rtc.VideoFrame(_WIDTH, _HEIGHT, rtc.VideoBufferType.RGBA, bytes(_WIDTH * _HEIGHT * 4))
    while True:
        source.capture_frame(picture)
        await asyncio.sleep(_PAUSE_S)


async def _main() -> None:
    told = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    given = json.loads(await told.readline())
    room, over = rtc.Room(), asyncio.Event()
    tasks: list[asyncio.Future[object]] = []

    def subscribed(track: rtc.Track, *_: object) -> None:
        tasks.append(asyncio.ensure_future(_watch(track)))

    def disconnected(reason: object) -> None:
        _say("disconnected", reason=str(reason))
        over.set()

    room.on("track_subscribed", subscribed)
    room.on("disconnected", disconnected)
    try:
        await room.connect(given["url"], given["token"])
    except rtc.ConnectError as error:
        _say("refused", error=str(error))
        return
    _say("joined", sid=room.local_participant.sid)
    source = rtc.VideoSource(_WIDTH, _HEIGHT)
    await room.local_participant.publish_track(rtc.LocalVideoTrack.create_video_track("camera", source))
    tasks.append(asyncio.ensure_future(_film(source)))
    tasks += [asyncio.ensure_future(told.read()), asyncio.ensure_future(over.wait())]
    await asyncio.wait(tasks[-2:], return_when=asyncio.FIRST_COMPLETED)
    _say("leaves")
    await room.disconnect()
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(_main())
