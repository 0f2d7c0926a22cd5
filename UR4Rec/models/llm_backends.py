"""Who answers: an OpenAI-compatible endpoint, or a language model in a local Hugging Face directory.

A backend is a function question -> answer. It raises Retry where a second try may help, Refused where this one question
will not be answered, and ArtifactError where none will.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from genrec.artifacts import sample_fingerprint
from genrec.data.texts import clean_text
from genrec.errors import ArtifactError, first_line
from UR4Rec.extras import import_extra
from UR4Rec.models.llm_cache import Answer, Question

DASHSCOPE_URL = "https://dashscope.aliyuncs.com/compatible-mode/v1"
OPENAI_URL = "https://api.openai.com/v1"
THOUGHT = re.compile(r"<think>.*?(</think>|$)", re.DOTALL)

Backend = Callable[[Question], Answer]


class Retry(Exception):
    """The endpoint was busy, slow, broken or talked nonsense; `after` seconds if it said how long to wait."""

    def __init__(self, why: str, after: float = 0.0):
        super().__init__(why)
        self.after = after


class Refused(Exception):
    """The endpoint will not answer this question."""


def clean_answer(text: object) -> str:
    """An answer as one clean line, without a model's thoughts."""
    answer = clean_text(THOUGHT.sub("", text)) if isinstance(text, str) else ""
    if not any(letter.isalnum() for letter in answer):
        raise Retry(f"the answer has no word in it: {str(text)[:60]!r}")
    return answer


def endpoint(base_url: str | None, insecure: bool = False) -> tuple[str | None, str]:
    """(URL, None = OpenAI's own; key). Keys come from the environment alone, and each goes to its own provider.

    A key goes over https or to this machine; elsewhere only with `insecure`.
    """
    dashscope, openai = os.environ.get("DASHSCOPE_API_KEY"), os.environ.get("OPENAI_API_KEY")
    if base_url:
        own = dashscope if check_url(base_url).endswith(".aliyuncs.com") else openai
        if own and not insecure and not is_private(base_url):
            raise ArtifactError(
                f"{name_endpoint(base_url)} is neither https nor on this machine, and a key sent there could be read "
                "on the way; use https, unset the key, or insist with --insecure_endpoint"
            )
        return base_url, own or "none"  # a server of one's own takes any key
    if dashscope:
        return DASHSCOPE_URL, dashscope
    if openai:
        return None, openai
    raise ArtifactError(
        "no key for a language model. Ways on: export DASHSCOPE_API_KEY or OPENAI_API_KEY; --base_url of a server of "
        "your own; --backend local --model_name DIR; or --backend none, plain sentences without a model"
    )


def check_url(url: str) -> str:
    """The host of an http or https address."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ArtifactError(f"--base_url {url!a} is no address; it is like https://HOST/v1 or http://localhost:8000/v1")
    return parts.hostname


def is_private(url: str) -> bool:
    """Whether nobody between here and there can read along."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def name_endpoint(base_url: str | None) -> str:
    """Who is asked, without any password that the address carries."""
    url = endpoint_url(base_url)
    check_url(url)
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def endpoint_url(base_url: str | None) -> str:
    return base_url or (DASHSCOPE_URL if os.environ.get("DASHSCOPE_API_KEY") else OPENAI_URL)


def name_local_model(model_dir: str) -> str:
    """A local model by sizes and samples of its files: another one in the same place is another one."""
    directory = Path(model_dir)
    if not (directory / "config.json").is_file():
        raise ArtifactError(f"no Hugging Face model in '{model_dir}'; --backend local --model_name DIR takes one")
    files = {path.name: sample_fingerprint(path) for path in sorted(directory.iterdir()) if path.is_file()}
    return f"local {hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]}"


def openai_backend(base_url: str | None, timeout: float, insecure: bool = False) -> Backend:
    openai = import_extra("openai", "--backend openai")
    url, key = endpoint(base_url, insecure)
    client = openai.OpenAI(api_key=key, base_url=url, timeout=timeout, max_retries=0)  # the caller retries

    def ask(question: Question) -> Answer:
        messages = [{"role": "system", "content": question.system}, {"role": "user", "content": question.prompt}]
        try:
            completion = client.chat.completions.create(
                model=question.model,
                messages=messages,
                temperature=question.temperature,
                max_tokens=question.max_tokens,
            )
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise ArtifactError(f"{url or 'the endpoint'} refuses the key or the model: {first_line(error)}") from None
        except openai.RateLimitError as error:
            if error.code == "insufficient_quota":
                raise ArtifactError(f"the account is used up: {first_line(error)}") from None
            raise Retry(first_line(error), wait_time(error.response.headers.get("retry-after"))) from None
        except (openai.APIConnectionError, openai.InternalServerError) as error:  # a timeout is a connection error
            raise Retry(first_line(error)) from None
        except openai.APIStatusError as error:
            raise Refused(first_line(error)) from None
        except (openai.APIError, ValueError) as error:
            raise Retry(f"the answer cannot be read: {first_line(error)}") from None
        return read_completion(completion)

    return ask


def read_completion(completion: object) -> Answer:
    """The client's view of the answer's JSON; an endpoint may send anything."""
    try:
        text, usage = completion.choices[0].message.content, completion.usage
        tokens_in, tokens_out = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    except (AttributeError, IndexError, TypeError) as error:
        raise Retry(f"the answer is no chat completion ({first_line(error)})") from None
    return Answer(clean_answer(text), int(tokens_in or 0), int(tokens_out or 0))


def wait_time(header: str | None) -> float:
    """Seconds of a Retry-After header; its other form, a date, is left to the back-off."""
    return float(header) if header and re.fullmatch(r"\d+(\.\d+)?", header) else 0.0


def local_backend(model_dir: str, device: str) -> Backend:
    """A causal language model, one question at a time; the same question gets the same answer."""
    import torch

    from genrec.models.language import load_pretrained
    from genrec.runtime.device import pick_device

    name_local_model(model_dir)  # is there one?
    where = pick_device(device, "--device")
    model, tokenizer = load_pretrained(model_dir, torch.float32 if where.type == "cpu" else torch.bfloat16)
    model.to(where).eval()
    one_at_a_time = threading.Lock()

    def ask(question: Question) -> Answer:
        tokens = torch.tensor([prompt_tokens(tokenizer, question)], device=model.device)
        sampling = {"do_sample": True, "temperature": question.temperature} if question.temperature else {}
        with one_at_a_time, torch.no_grad():
            torch.manual_seed(int(question.key[:8], 16))
            out = model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                max_new_tokens=question.max_tokens,
                pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
                **(sampling or {"do_sample": False}),
            )[0, tokens.shape[1] :]
        try:
            text = clean_answer(tokenizer.decode(out, skip_special_tokens=True))
        except Retry as error:  # it would say the same again
            raise Refused(str(error)) from None
        return Answer(text, tokens.shape[1], len(out))

    return ask


def prompt_tokens(tokenizer, question: Question) -> list[int]:
    if tokenizer.chat_template is None:
        return tokenizer(f"{question.system}\n\n{question.prompt}\n")["input_ids"]
    messages = [{"role": "system", "content": question.system}, {"role": "user", "content": question.prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]
