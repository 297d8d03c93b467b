"""The table of the leaderboard, of its cards, and the standard tasks: `docs/leaderboard.md` includes them."""

from pathlib import Path

from agents.scoring import TASKS, read_card, table

CARDS = Path(__file__).parents[1] / "leaderboard"


def pages(folder: Path) -> dict[str, str]:
    """The part of that page that is made of the cards."""
    tasks = "".join(f"- `{name}`: {text}\n" for name, (text, _, _) in TASKS.items())
    cards = table([read_card(path) for path in sorted(CARDS.glob("*.json"))])
    narrow = cards.replace(" [", "<br><small>[").replace("] / ", "]</small><br>").replace(", ", ",\u00a0")
    return {"leaderboard": f"{narrow}\n{tasks}"}
