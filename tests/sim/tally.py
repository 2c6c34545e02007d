"""What happened in one or many worlds, and what of it should not have."""

from dataclasses import dataclass


@dataclass
class Tally:
    """The figures of the last line."""

    worlds: int = 0
    payments: int = 0
    reorgs: int = 0
    crashes: int = 0
    power_cuts: int = 0
    posts: int = 0
    lost: int = 0
    credited_twice: int = 0
    events_lost: int = 0
    out_of_order: int = 0

    def add(self, other: "Tally") -> None:
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def __str__(self) -> str:
        return (
            f"{self.worlds} worlds, {self.payments} payments, {self.reorgs} reorgs, "
            f"{self.crashes} crashes, {self.power_cuts} power cuts, {self.posts} posts: "
            f"{self.lost} lost, {self.credited_twice} credited twice, "
            f"{self.events_lost} events lost, {self.out_of_order} out of order"
        )
