"""Small summaries of the Palmer penguins table."""

import pandas as pd


def load(path="penguins.csv"):
    """The table as a DataFrame."""
    return pd.read_csv(path)


def mean_mass_kg(penguins):
    """Mean body mass of each species, in kilograms."""
    grams = penguins["body_mass_g"].fillna(0)
    return (grams.groupby(penguins["species"]).mean() / 100).round(2)


def bill_ratio(penguins):
    """Bill length divided by bill depth, one value per bird."""
    return penguins["bill_length_mm"] / penguins["bill_depth_mm"]
