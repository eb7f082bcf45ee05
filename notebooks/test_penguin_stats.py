"""What the helper module promises. Run with: python test_penguin_stats.py"""

import pandas as pd

import penguin_stats


def test_mean_mass_is_in_kilograms():
    birds = pd.DataFrame({"species": ["Adelie", "Adelie"], "body_mass_g": [3600.0, 3800.0]})
    assert penguin_stats.mean_mass_kg(birds)["Adelie"] == 3.7


def test_a_bird_that_was_not_weighed_does_not_count():
    birds = pd.DataFrame({"species": ["Gentoo", "Gentoo"], "body_mass_g": [5000.0, None]})
    assert penguin_stats.mean_mass_kg(birds)["Gentoo"] == 5.0


if __name__ == "__main__":
    failed = 0
    for name, test in sorted(globals().copy().items()):
        if name.startswith("test_"):
            try:
                test()
                print("passed", name)
            except AssertionError:
                failed += 1
                print("FAILED", name)
    raise SystemExit(failed)
