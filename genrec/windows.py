"""The window of time that a collection has by itself.

A shop of one's own and MovieLens have none: all of their events count unless data.st_year ... data.ed_month are given.
"""

from __future__ import annotations

from typing import NamedTuple

COLLECTIONS = ("amazon18", "amazon23", "movielens", "minionerec", "toy")  # data.source of what others published
TABLE = "table"  # data.source of a shop of one's own, whose window no preset knows
KEYS = ("st_year", "st_month", "ed_year", "ed_month")
AMAZON18 = (1996, 10, 2018, 11)  # what MiniOneRec's stage 1 takes by itself
AMAZON23 = (1996, 5, 2023, 10)  # the collection's own span: May 1996 to September 2023

# Categories as their files are called; a data set whose name is one of these, or goes on behind it with _, is Amazon's.
CATEGORIES = (
    "AMAZON_FASHION All_Beauty Amazon_Fashion Appliances Arts_Crafts_and_Sewing Automotive Baby_Products "
    "Beauty_and_Personal_Care Books CDs_and_Vinyl Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music "
    "Electronics Gift_Cards Grocery_and_Gourmet_Food Handmade_Products Health_and_Household Health_and_Personal_Care "
    "Home_and_Kitchen Industrial_and_Scientific Kindle_Store Luxury_Beauty Magazine_Subscriptions Movies_and_TV "
    "Musical_Instruments Office_Products Patio_Lawn_and_Garden Pet_Supplies Prime_Pantry Software Sports_and_Outdoors "
    "Subscription_Boxes Tools_and_Home_Improvement Toys_and_Games Unknown Video_Games"
).split()
OWN = {
    **{("amazon18", category): AMAZON18 for category in CATEGORIES},
    **{("minionerec", category): AMAZON18 for category in CATEGORIES},  # the same reviews, filtered elsewhere
    **{("amazon23", category): AMAZON23 for category in CATEGORIES},
}


def is_own_shop(source: str) -> bool:
    """Whether data.source names tables, or a function that gives them."""
    return source not in COLLECTIONS


class Collection(NamedTuple):
    source: str
    dataset: str

    @property
    def category(self) -> str:
        """The longest category that the name is, or begins with."""
        names = (name for name in CATEGORIES if self.dataset == name or self.dataset.startswith(f"{name}_"))
        return max(names, key=len, default="")

    @property
    def window(self) -> dict[str, int]:
        """key -> value of its own window; {} where it has none."""
        return dict(zip(KEYS, OWN.get((self.source, self.category), ()), strict=False))
