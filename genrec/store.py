"""The artifacts of one run, read: where each lies, whether it is there, and what it holds.

N items, L levels, K codes a level, D width of the text vectors, d width of the codebooks
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from genrec import artifacts
from genrec.artifacts import Manifest, read_json, read_manifest
from genrec.config import Config, Data, result_knobs
from genrec.data.catalog import Catalog, load_catalog
from genrec.data.grown import GrownCatalog, join_new_items, load_grown
from genrec.data.prepared import Prepared, check_pointers
from genrec.data.sequences import Sequences, Split, load_sequences, load_splits
from genrec.data.updated import load_updated
from genrec.data.vectors import load_vectors
from genrec.errors import ArtifactError
from genrec.guard import differences, refusal
from genrec.pipeline import artifact_dir, command_of
from genrec.sids import SidIndex, load_codebooks, load_index, read_index_json


class Collisions(BaseModel):
    before: dict[str, float]
    after: dict[str, float]


def list_sids(run_dir: Path) -> list[str]:
    """The names of a run's finished semantic IDs."""
    return sorted(path.parent.name for path in (run_dir / "sids").glob(f"*/{artifacts.MANIFEST}"))


class SidQuality(BaseModel):
    """What must stand in quality.json; there is more."""

    items: int
    collisions: Collisions
    neighbours: Annotated[list[dict[str, float]], Field(min_length=1)]
    levels: list[dict[str, Any]]


@dataclass(frozen=True)
class RunStore:
    """A run directory. Every reader raises ArtifactError with the command that makes what is missing."""

    directory: Path
    asked: Data | None = None  # the data settings in use, where the data artifact must have been made with them
    sids: str = ""  # which of the run's semantic IDs; where it has one kind, that one

    @classmethod
    def of(cls, config: Config) -> RunStore:
        return cls(config.run.dir, config.data, artifact_dir(config, "sids").name)

    # Artifacts

    def path(self, stage: str) -> Path:
        return self.sids_dir if stage == "sids" else self.directory / stage

    @property
    def sids_dir(self) -> Path:
        names = [self.sids] if self.sids else list_sids(self.directory)
        if len(names) > 1:
            raise ArtifactError(
                f"{self.directory / 'sids'} holds several semantic IDs ({', '.join(names)}), and nothing says which is "
                "meant; name one, or begin a run with that one alone: --run.dir NEW --run.from_run THIS"
            )
        return self.directory / "sids" / "".join(names)

    def has(self, stage: str) -> bool:
        return read_manifest(self.path(stage)) is not None

    def manifest(self, stage: str) -> Manifest:
        return artifacts.require(self.path(stage), command_of(stage))

    @property
    def dataset(self) -> str:
        """The name that stands in file names."""
        return self.asked.dataset if self.asked else self.manifest("data").config["data.dataset"]

    def file(self, stage: str, name: str) -> Path:
        """A file of an artifact; `name` may hold {dataset}."""
        return self.path(stage) / name.format(dataset=self.dataset)

    # Data

    def prepared(self) -> Prepared:
        """Catalogue, sequences and splits; an error where they were made with other data.* knobs than asked."""
        knobs = self.data_settings()
        catalog = self.catalog()
        sequences, splits = self.events(len(catalog))
        if not len(splits["train"]):
            raise ArtifactError(f"{self.path('data')} has no train rows; prepare more events or a wider window")
        updated = load_updated(self.path("data") / artifacts.UPDATED, len(splits["train"]), len(catalog))
        return Prepared(catalog, sequences, splits, knobs["data.max_history"], updated)

    def data_settings(self) -> dict[str, Any]:
        """The data.* knobs that the artifact was made with, held against those asked; another seed is no difference."""
        config = self.manifest("data").config
        written = {key: value for key, value in config.items() if key.startswith("data.")}
        if self.asked:
            asked = {f"data.{key}": value for key, value in result_knobs(self.asked).items()}
            written = {key: value for key, value in written.items() if key in asked}
            if different := differences({"config": written, "inputs": {}}, {"config": asked, "inputs": {}}):
                anew = f"`{command_of('data')} --clean` (with your other flags)"
                raise ArtifactError(refusal(self.path("data"), different, "--run.dir ANOTHER", anew))
        return written

    def catalog(self) -> Catalog:
        return load_catalog(self.path("data") / artifacts.CATALOG)

    def events(self, num_items: int) -> tuple[Sequences, dict[str, Split]]:
        """Sequences and splits, held against each other and against the catalogue's size."""
        sequences, splits = self.sequences(), self.splits()
        check_pointers(num_items, sequences, splits, self.path("data"))
        return sequences, splits

    def sequences(self) -> Sequences:
        return load_sequences(self.path("data") / artifacts.SEQUENCES)

    def splits(self) -> dict[str, Split]:
        return load_splits(self.path("data") / artifacts.SPLITS)

    # Embeddings and semantic IDs

    def vectors(self, num_items: int) -> np.ndarray:
        """(N, D) float32 text vectors, checked against the catalogue's size."""
        return load_vectors(self.file("embeddings", artifacts.EMBEDDINGS), num_items)

    def index(self) -> SidIndex:
        return load_index(self.path("sids") / artifacts.SID_INDEX)

    def sid_lineage(self) -> list[str]:
        """Fingerprints of the semantic IDs, first, and of those that they grew from: models of any of them fit."""
        manifest = self.manifest("sids")
        return [manifest.fingerprint, *manifest.statistics.get("grown_from", [])]

    def codes(self) -> np.ndarray:
        """(N, L) codes, as the index has them, a row an item of the catalogue."""
        self.manifest("sids")
        codes, items = self.index().codes, len(self.catalog())
        if len(codes) != items:
            raise ArtifactError(
                f"{self.path('sids')} has {len(codes)} items, the catalogue {items}; run: {command_of('sids')} --clean"
            )
        return codes

    def codebooks(self) -> tuple[np.ndarray, ...] | None:
        """(K, d) a level; None where the SIDs were imported and have none."""
        path = self.path("sids") / artifacts.CODEBOOKS
        return load_codebooks(path) if path.exists() else None

    def sid_quality(self) -> dict[str, Any] | None:
        path = self.path("sids") / artifacts.QUALITY
        if not self.has("sids"):
            return None
        self.manifest("sids")
        if not path.exists():  # of a run made before it was written
            return None
        quality = read_json(path)
        try:  # what analysis and advice read of it
            SidQuality.model_validate(quality)
        except ValidationError as error:
            fault = f"{'.'.join(map(str, error.errors()[0]['loc']))}: {error.errors()[0]['msg']}"
            again = f"{command_of('sids')} --clean"
            raise ArtifactError(f"{path} is no report on semantic IDs ({fault}); run: {again}") from None
        return quality

    def published_index(self) -> SidIndex:
        """The index that the data artifact brought along, collisions as published."""
        path = self.file("data", artifacts.INDEX_JSON)
        if not path.exists():
            raise ArtifactError(
                f"sids.method imported needs {path}, which only an import of published artifacts writes "
                "(data.source minionerec); use --sids.method rqkmeans_plus to make an index from the texts"
            )
        return read_index_json(path)

    # The catalogue with new items

    @property
    def grown_dir(self) -> Path:
        return self.directory / "sids_grown" / self.sids_dir.name

    def grown(self, trained: SidIndex) -> GrownCatalog:
        """What lies in sids_grown/, or an error where its old items are not those of `trained`, (N) rows."""
        if not self.grown_dir.exists():
            raise ArtifactError(
                f"{self.grown_dir} is not there yet; run first: {command_of('sids')} --add new.item.json"
            )
        return load_grown(self.grown_dir, self.dataset, trained)

    def new_vectors(self, count: int) -> np.ndarray:
        """(M, D) float32 text vectors of the items that were added."""
        path = self.grown_dir / artifacts.NEW_VECTORS
        if not path.exists():
            raise ArtifactError(
                f"{path} is not there, as before an earlier release; remove {self.grown_dir} and add its items again: "
                f"{command_of('sids')} --add new.item.json"
            )
        return load_vectors(path, count)

    def with_new_items(self, data: Prepared) -> Prepared:
        """The run's data over the grown catalogue: no event knows a new item."""
        return join_new_items(data, self.grown(self.index()).catalog)

    # Models

    def sequential_model(self, name: str) -> Path:
        return self.path("sequential") / name
