"""LLM generative recommendation: from raw reviews to a language model that recommends, stage by stage."""

__version__ = "0.2.0"
