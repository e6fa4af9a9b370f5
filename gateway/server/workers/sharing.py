"""What workers know of targets and ids in common: rests, and who made what bound requests name."""

from __future__ import annotations

from gateway.engine.health import Health, Identity
from gateway.engine.makers import MAX_ID, Maker, Makers, key_of_id
from gateway.engine.rests import TargetRest
from gateway.server.workers.member import Member
from gateway.wire.json import JsonObject


def share_rests(health: Health, member: Member) -> None:
    """Tell the other workers of each target's rest, and have those rest that they tell of.

    A rest is known to all at once; the failures that lead to one are counted by each worker alone.
    """

    def tell(identity: Identity, label: str, rest: TargetRest | None) -> None:
        told = None if rest is None else rest.told()
        member.channel.tell("rest", identity=list(identity), label=label, rest=told)

    def hear(fields: JsonObject) -> None:
        name, base_url, source = fields["identity"]
        rest = None if fields["rest"] is None else TargetRest.heard(fields["rest"])
        health.hear((name, base_url, source), fields["label"], rest)

    for fields in member.place.hello["rests"]:
        hear(fields)
    health.tell = tell
    member.hears("rest", hear)


class SharedMakers(Makers):
    """Remembers who made ids, and asks the supervisor for those that other workers' answers had."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self._member = member
        member.hears("unmade", lambda fields: self.drop(fields["key"]))

    def put(self, key: str, maker: Maker) -> None:
        super().put(key, maker)
        self._member.channel.tell("made", keys=[key], maker=list(maker))

    async def found(self, made: str, *, client: str | None) -> Maker | None:
        maker = self.find(made, client=client)
        if maker is None and len(made) <= MAX_ID:
            maker = await self._member.maker(key_of_id(made, client))
            if maker is not None:
                super().put(key_of_id(made, client), maker)
        return maker

    def forget(self, made: str, *, client: str | None) -> None:
        super().forget(made, client=client)
        self._member.channel.tell("unmade", key=key_of_id(made, client))
