"""The tables of the leaderboard, of its cards, and the standard tasks: `docs/leaderboard.md` includes them."""

from pathlib import Path

from agents.scoring import LEAGUES, read_card, table

TITLES = {"cells": "Cells that are programmed", "learning": "Chips that learn"}  # of leagues
CARDS = Path(__file__).parents[1] / "leaderboard"


def pages(folder: Path) -> dict[str, str]:
    """The part of that page that is made of the cards."""
    cards = [read_card(path) for path in sorted(CARDS.glob("*.json"))]
    text = ""
    for name, league in LEAGUES.items():
        own = table([card for card in cards if card["league"] == name])
        narrow = own.replace(" [", "<br><small>[").replace("] / ", "]</small><br>").replace(", ", ",\u00a0")
        text += f"## {TITLES[name]}\n\n{narrow}\n"
        text += "".join(f"- `{task}`: {one.text}\n" for task, one in league.tasks.items()) + "\n"
    return {"leaderboard": text}
