"""What the experts can read of a collection: texts of films, texts about users, posters, each as frozen vectors.

An expert exists where its data do: `description` where a sentence encoder is at hand, `preference` where a language
model, or plain sentences in its place, have said something of these users, `image` where posters were asked for. Of the
others the reason is kept. Vectors are made when somebody first asks, and cached.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from genrec.data.given_texts import MADE_OF, SNAPSHOTS, read_texts
from genrec.embeddings.item_encoder import resolve_checkpoint
from genrec.errors import ArtifactError
from UR4Rec.data.dataset_loader import ItemMetadata, UserSequences
from UR4Rec.data.features import ItemFeatures, Vectors, encode_descriptions, item_features, poster_vectors
from UR4Rec.data.generated import ITEM_DESCRIPTIONS, USER_PREFERENCES, TextSource, movielens_source
from UR4Rec.data.poster_encoder import own_poster_vectors
from UR4Rec.data.posters import find_posters
from UR4Rec.data.snapshots import check_source, given_snapshots
from UR4Rec.models.preferences import Preferences

POSTERS_READ_AT_ONCE = 32
GENERATOR = "python UR4Rec/models/llm_generator.py (--backend none without a model) writes them"


@dataclass(frozen=True)
class Content:
    """Vectors of what is there, and {expert: why it does not exist} of the rest."""

    features: ItemFeatures | None = None
    preferences: Preferences | None = None
    missing: dict[str, str] = field(default_factory=dict)


@dataclass
class ContentSource:
    """Where the content of a collection comes from; fields are the arguments of create_dataloaders."""

    item_metadata: ItemMetadata
    user_sequences: UserSequences
    encoder: str | None
    texts_dir: Path | None
    image_dir: Path | None  # None: no posters were asked for
    image_encoder: Path | None
    cache: Path | None

    def __post_init__(self) -> None:
        self.posters = {} if self.image_dir is None else find_posters(self.item_metadata, self.image_dir)

    @cached_property
    def content(self) -> Content:
        """Read once; the first call may encode."""
        missing: dict[str, str] = {}
        text = self.read_text(missing)
        if text is None:
            return Content(missing={name: missing["description"] for name in ("preference", "description", "image")})
        preferences = self.read_preferences(missing)
        return Content(item_features(text, self.read_images(text, missing)), preferences, missing)

    def read_text(self, missing: dict[str, str]) -> Vectors | None:
        """Title, genres and description of each item, or what a language model wrote of it."""
        if self.encoder is None:
            missing["description"] = "encoder=None"
            return None
        try:
            resolve_checkpoint(self.encoder)
        except ArtifactError as error:
            missing["description"] = str(error)
            return None
        written = self.texts_dir / ITEM_DESCRIPTIONS if self.texts_dir else None
        given = read_texts(written) if written and written.is_file() and not self.foreign() else None
        return encode_descriptions(self.item_metadata, self.encoder, self.cache, given)

    def read_preferences(self, missing: dict[str, str]) -> Preferences | None:
        """Texts about users at several moments of their train prefix, where somebody wrote them."""
        if why := self.why_no_preferences():
            missing["preference"] = why
            return None
        assert self.texts_dir and self.encoder
        path = self.texts_dir / USER_PREFERENCES
        return given_snapshots(path, self.item_metadata, self.user_sequences, self.encoder, self.cache)

    def why_no_preferences(self) -> str:
        """Empty where there are texts that may be read."""
        if self.texts_dir is None:
            return "texts_dir=None"
        if not (self.texts_dir / USER_PREFERENCES).is_file():
            return f"no {self.texts_dir / USER_PREFERENCES}; {GENERATOR}"
        if reason := self.foreign():
            return reason
        if not (self.texts_dir / SNAPSHOTS).is_file():
            return f"no {SNAPSHOTS} in {self.texts_dir}; llm_generator.py --snapshots 3 writes it"
        return ""

    def foreign(self) -> str:
        """Why the texts are of other films or other histories; empty where they are of these."""
        assert self.texts_dir
        if not (self.texts_dir / MADE_OF).is_file():
            return f"no {MADE_OF} in {self.texts_dir} says of what its texts are"
        try:
            check_source(self.texts_dir / USER_PREFERENCES, self.source)
        except ArtifactError as error:
            return str(error)
        return ""

    @cached_property
    def source(self) -> TextSource:
        return movielens_source("", self.item_metadata, self.user_sequences)

    def read_images(self, text: Vectors, missing: dict[str, str]) -> Vectors | None:
        """Posters by a CLIP or SigLIP directory, or by a small encoder that learns here which text is whose."""
        if self.image_dir is None:
            missing["image"] = "load_images=False"
            return None
        if not self.posters:
            missing["image"] = f"{self.image_dir} has no poster <original id>.png of these films"
            return None
        rows = len(self.item_metadata) + 1
        if self.image_encoder is None:
            return own_poster_vectors(self.posters, rows, text, self.cache)
        return poster_vectors(self.posters, rows, self.image_encoder, self.cache, POSTERS_READ_AT_ONCE, "cpu")
