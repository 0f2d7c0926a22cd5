"""A run behind FastAPI, in one file (pip install fastapi uvicorn).

RUN=outputs/quickstart uvicorn --app-dir examples fastapi_app:app
curl -X POST localhost:8000/recommend -H 'content-type: application/json' -d '{"history": ["50", "172"], "k": 5}'
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

import genrec
from genrec.errors import ConfigError

app = FastAPI()


class Question(BaseModel):
    history: list[str] = Field(max_length=1000)
    k: int = Field(10, ge=1, le=50)


@cache
def shop() -> Any:
    return genrec.load(os.environ.get("RUN", "outputs/quickstart"))


@app.post("/recommend")
def recommend(question: Question) -> list[dict[str, Any]]:
    try:
        lists = shop().recommend([question.history], k=question.k)
    except ConfigError as error:
        raise HTTPException(422, str(error)) from None
    return lists.select("rank", "item_id", "title", "score").to_dicts()
