"""`python -m tools.reference`: writes what is out of date, and says which files those were."""

from __future__ import annotations

from tools.reference import files


def main() -> None:
    stale = {
        path: text
        for path, text in files().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.name}")
    if not stale:
        print("The reference is as the code is.")


main()
