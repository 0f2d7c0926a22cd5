"""Command lines that cannot be used: exit 2 and one line that names the flag, both values, and the way on."""

import shlex

import pytest

from tests.adversarial.shop import call

STAGES = ("prepare", "embed", "sids", "convert", "sequential", "sft", "rl", "evaluate", "analyze", "iterate", "run")
OPTIONS = ("advise", "compare")

EVERY_STAGE = {  # words after the command: what the line says
    "--no_such_flag 1": "unknown flag --no_such_flag",
    "--run.dri x": "unknown (flag --|key ')run.dri.*did you mean",
    "stray": "expected a flag that starts with --, found 'stray'",
    "--run.seed": "--run.seed needs a value",
    "--run.seed three": "run.seed: .*integer.*'three'",
    "--run.seed -1": "run.seed: .*greater than or equal to 0.*-1",
    "--run.seed 1.5": "run.seed: .*1.5",
    "--run.seed 18446744073709551616": "run.seed: .*at most 4,294,967,295.*18446744073709551616",
    "--run.dir": "--run.dir needs a value",
    "--run.verify never": "run.verify: .*'changed' or 'always'.*'never'",
    "--config": "--config needs a value",
    "--config no_such_preset": "no config file no_such_preset.*presets: .*quickstart",
    "--config quickstrat": "no config file quickstrat.*did you mean 'quickstart'",
    "--config /": "/ is a directory; --config takes a file or a preset",
    "--config --clean": "--config needs a value, found the flag --clean",
}
EVERY_OPTIONS = {
    "--no_such_flag 1": "unknown flag --no_such_flag",
    "stray": "expected a flag that starts with --, found 'stray'|it takes two models: .*; found stray",
    "": "is required|it takes two models",
    "--clean": "unknown flag --clean",
    "--config no_such_file.yaml": "no config file no_such_file.yaml",
}
ONE_COMMAND = {
    # bounds, kinds and names of single knobs
    "prepare --source amazon": "data.source: unknown data source 'amazon'; did you mean 'amazon",
    "prepare --dataset ../etc": "data.dataset: .*pattern.*'../etc'",
    "prepare --dataset .": "data.dataset: .*pattern",
    "prepare --dataset ..": "data.dataset: .*pattern",
    "prepare --dataset a/b": "data.dataset: .*pattern",
    "prepare --dataset ''": "data.dataset: .*pattern",
    "prepare --user_k 0": "data.user_k: .*greater than or equal to 1.*got 0",
    "prepare --item_k many": "data.item_k: .*integer.*'many'",
    "prepare --st_month 13": "data.st_month: .*12.*13",
    "prepare --st_year 1969": "data.st_year: .*1970.*1969",
    "prepare --ed_year 1990": "data window is empty: starts 1996-10, ends 1990-10",
    "prepare --min_rating .nan": "data.min_rating: .*finite.*nan",
    "prepare --min_rating .inf": "data.min_rating: .*finite.*inf",
    "prepare --min_rating high": "data.min_rating: .*number.*'high'",
    "prepare --max_bad_share 2": "data.max_bad_share: .*1.*2",
    "prepare --max_history 0": "data.max_history: .*1.*0",
    "prepare --max_history 99999999999": "data.max_history: .*at most 4,294,967,295",
    "prepare --split random": "data.split: .*'leave_one_out'.*'random'",
    "prepare --compat other": "data.compat: .*'minionerec'.*'other'",
    "prepare --data.dataset": "--data.dataset needs a value",
    "prepare --max_history [1,2]": "data.max_history: .*integer",
    "prepare --max_history {": "'{' is not a YAML value",
    "prepare --max_history '*a'": "'\\*a' is not a YAML value",
    "prepare --max_history '!!python/object:os.system x'": "is not a YAML value",
    "prepare --max_history 2020-13-45": "'2020-13-45' is not a YAML value",
    "prepare --max_history true": "data.max_history: .*a number is needed, found true",
    "prepare --raw_dir ''": "data.raw_dir: .*must not be empty",
    "prepare --run.dir ''": "run.dir: .*must not be empty",
    "prepare --max_history ''": "data.max_history: .*got None",
    "embed --batch_size 0": "embeddings.batch_size: .*1.*0",
    "embed --dtype float16": "embeddings.dtype: .*'bfloat16'.*'float16'",
    "embed --max_length 0": "embeddings.max_length: .*1.*0",
    "embed --normalize maybe": "embeddings.normalize|expected a flag.*'maybe'",
    "embed --num_processes -3": "embeddings.num_processes: .*1.*-3",
    "sids --method kmeans": "sids.method: .*'rqkmeans'.*'kmeans'",
    "sids --num_levels 0": "sids.num_levels: .*1.*0",
    "sids --num_levels 9": "sids.num_levels: .*8.*9",
    "sids --codebook_size 1": "sids.codebook_size: .*2.*1",
    "sids --codebook_size 32768": "sids.codebook_size: .*32767.*32768",
    "sids --alpha 2": "sids.alpha",
    "sids --alpha some": "sids.alpha",
    "sids --hidden_sizes 0": "sids.hidden_sizes.*1.*0",
    "sids --hidden_sizes ''": "sids.hidden_sizes: .*at least 1 item",
    "sids --hidden_sizes a,b": "sids.hidden_sizes.0: .*integer.*'a'",
    "sids --learning_rate 0": "sids.learning_rate: .*greater than 0.*0",
    "sids --learning_rate 1e6": "sids.learning_rate: .*10.*1000000",
    "sids --ema_decay 1": "sids.ema_decay: .*less than 1.*1",
    "sids --beta .inf": "sids.beta: .*inf",
    "sids --num_epochs -1": "sids.num_epochs: .*1.*-1",
    "sids --num_epochs .inf": "sids.num_epochs: .*inf",
    "sids --retire=-1": "sids.retire.*0.*-1",
    "sids --retire one": "sids.retire.0: .*integer.*'one'",
    "sids --method rqvae --kmeans_backend k_means_constrained": "sids.kmeans_backend.*would do nothing.*rqvae",
    "sequential --models gru": "sequential.models.0: .*'sasrec'.*'gru'",
    "sequential --models ''": "sequential.models: .*at least 1 item",
    "sequential --hidden_size 10 --num_heads 3": "hidden_size 10 is not a multiple of sequential.num_heads 3",
    "sequential --temperature .inf": "sequential.temperature: .*inf",
    "sequential --temperature 0": "sequential.temperature: .*greater than 0.*0",
    "sequential --dropout 1": "sequential.dropout: .*less than 1.*1",
    "sequential --rdrop 1 --dropout 0": "sequential.rdrop 1.0 compares two passes.*sequential.dropout is 0",
    "sequential --num_epochs 0": "sequential.num_epochs: .*1.*0",
    "sequential --learning_rate 1e30": "sequential.learning_rate: .*10",
    "sequential --cosine 3": "sequential.cosine|expected a flag.*'3'",
    "sft --tasks {}": "sft.tasks has no task with a share above 0",
    "sft --tasks '{sid_to_sid: 0}'": "sft.tasks has no task with a share above 0.*0",
    "sft --tasks '{sid_to_sdi: 1}'": "unknown task 'sid_to_sdi'; did you mean 'sid_to_sid'",
    "sft --tasks.sid_to_sid 1e-9": "sft.tasks.sid_to_sid 1e-09 would take no row at all",
    "sft --tasks.sid_to_sid -1": "sft.tasks.sid_to_sid: .*0.*-1",
    "sft --tasks.sid_to_sid.deeper 1": "sft.tasks.sid_to_sid|is a value, not a section",
    "sft --tasks.preference_to_sid 1": "sft.tasks.preference_to_sid reads sft.preferences, which is empty",
    "sft --batch_size 24 --micro_batch_size 16": "sft.batch_size 24 is not a multiple of sft.micro_batch_size 16",
    "sft --num_epochs 0": "sft.num_epochs: .*greater than 0",
    "sft --num_epochs .inf": "sft.num_epochs: .*inf",
    "sft --num_epochs .nan": "sft.num_epochs: .*nan",
    "sft --warmup_ratio 2": "sft.warmup_ratio: .*1.*2",
    "sft --eval_step 0": "sft.eval_step: .*0.001.*0",
    "sft --cutoff_len 3": "sft.cutoff_len: .*16.*3",
    "sft --freeze_LLM --lora.r 8": "sft.freeze_LLM True and sft.lora.r 8 exclude each other",
    "sft --freeze_LLM --train_from_scratch": "sft.freeze_LLM True and sft.train_from_scratch True exclude each other",
    "sft --lora.quantize nf4": "sft.lora.quantize nf4 and sft.lora.r 0 exclude each other",
    "sft --lora.r -1": "sft.lora.r: .*0.*-1",
    "sft --bf16 perhaps": "sft.bf16|expected a flag.*'perhaps'",
    "sft --profile tastes": "sft.profile.0: .*'taste'.*'tastes'",
    "sft --pack all": "sft.pack: .*'windows'.*'all'",
    "sft --normalization trie": "sft.normalization trie does not train what evaluation.normalization vocab reads",
    "sft --trainer.seed 3": "sft.trainer.seed is set by run.seed",
    "sft --trainer.no_such 3": "unknown key 'sft.trainer.no_such': not an argument of TrainingArguments",
    "sft --trainer.output_dir x": "sft.trainer.output_dir is set by the stage itself",
    "sft --scratch.vocab_size 10": "sft.scratch.vocab_size: .*300.*10",
    "sft --scratch 3": "sft.scratch: .*Scratch.*3|sft.scratch: .*dictionary.*3",
    "rl --num_generations 1": "rl.num_generations: .*2.*1",
    "rl --batch_size 30 --num_generations 16": "rl.batch_size 30 is not a multiple of rl.num_generations 16",
    "rl --train_batch_size 31": "rl.batch_size 31 is not a multiple of rl.num_generations 16",
    "rl --reward_type rankings": "unknown reward 'rankings'; did you mean 'ranking'",
    "rl --reward_type '{ranking: 0}'": "rewards nothing: every weight is 0",
    "rl --reward_type '{ranking: .nan}'": "rl.reward_type.*nan",
    "rl --reward_type {}": "rl.reward_type: .*at least 1 item",
    "rl --temperature 2": "rl.temperature 2.0 and rl.beam_search True exclude each other",
    "rl --sync_ref_model --beta 0": "rl.sync_ref_model True and rl.beta 0 exclude each other",
    "rl --dapo --gspo": "rl.dapo True and rl.gspo True exclude each other",
    "rl --trainer.use_vllm True": "rl.trainer.use_vllm would do nothing",
    "rl --trainer.beta 1": "rl.trainer.beta is set by rl.beta",
    "rl --sample_size 0": "rl.sample_size: .*1.*0",
    "rl --replay=-1": "rl.replay: .*0.*-1",
    "rl --tasks.sid_to_title 1": "unknown task 'sid_to_title'",
    "rl --kl_limit .nan": "rl.kl_limit: .*nan",
    "evaluate --models popular,gru": "evaluation.models.1: unknown model 'gru'; known: popular",
    "evaluate --models ''": "evaluation.models: .*(at least 1 item|'popular')",
    "evaluate --num_beams 0": "evaluation.num_beams: .*1.*0",
    "evaluate --limit=-5": "evaluation.limit: .*0.*-5",
    "evaluate --split train": "evaluation.split: .*'valid' or 'test'.*'train'",
    "evaluate --ranking best": "evaluation.ranking: .*'exact'.*'best'",
    "evaluate --index other": "evaluation.index: .*'sids_grown'.*'other'",
    "evaluate --ensemble_weight 1.5": "evaluation.ensemble_weight: .*1.*1.5",
    "evaluate --recent_share 0": "evaluation.recent_share: .*0.0001.*0",
    "evaluate --exact_memory 0": "evaluation.exact_memory: .*greater than 0.*0",
    "evaluate --models popular --base_model x": "evaluation.base_model x is the row 'sft', which evaluation.models",
    "evaluate --models sft sft": "evaluation.models names 'sft' twice",
    "sequential --models sasrec,sasrec": "sequential.models names 'sasrec' twice",
    "sft --profile taste,taste": "sft.profile names 'taste' twice",
    "analyze --top_k 0": "analysis.top_k: .*1.*0",
    "analyze --top_k 51": "analysis.top_k: .*50.*51",
    "analyze --near_miss 1": "analysis.near_miss: .*2.*1",
    "analyze --tail_share 1": "analysis.tail_share: .*less than 1.*1",
    "analyze --model .": "analysis.model '.' names no model",
    "analyze --model ..": "analysis.model '..' names no model",
    "analyze --model a/..": "analysis.model 'a/..' names no model",
    "analyze --model /": "analysis.model '/' names no model",
    "analyze --sample -1": "analysis.sample: .*0.*-1",
    "iterate --rounds 0": "iterate.rounds: .*1.*0",
    "iterate --rounds three": "iterate.rounds: .*integer.*'three'",
    "iterate --advice some": "iterate.advice: .*'first' or 'all'.*'some'",
    "run --from nowhere": "no stage 'nowhere'; there are: data, embeddings",
    "run --to nowhere": "no stage 'nowhere'; there are: data, embeddings",
    "run --skip sft,nowhere": "no stage 'nowhere'; there are: data, embeddings",
    "run --from rl --to data": "--to data comes before --from rl",
    "run --iterate=-1": "iterate: .*0.*-1",
    "run --iterate many": "iterate: .*integer.*'many'",
    "run --yes=maybe": "yes: .*boolean|bool.*'maybe'",
    "run --from": "--from needs a value",
    "advise --badcase_report": "--badcase_report needs a value",
    "advise --badcase_report x --auto_recommend --strategies long_tail": "and --strategies long_tail exclude",
    "advise --badcase_report x --auto_recommend perhaps": "auto_recommend|expected a flag.*'perhaps'",
    "compare --baseline x": "it takes two models: .*; found x",
    "run --yess": "unknown flag --yess; did you mean '--yes'",
    "compare --baseline x --optimized y --seed -1": "seed: .*0.*-1",
    "compare --baseline x --optimized y --seed 99999999999": "seed: .*4,294,967,295",
    # no command at all
    "nowhere": "unknown command 'nowhere'; there are: run, prepare",
    "evalaute": "unknown command 'evalaute'; did you mean 'evaluate'",
    "--clean": "unknown command '--clean'",
    "''": "unknown command ''",
    "presets more": "presets takes no further words, found 'more'",
    "version more": "version takes no further words, found 'more'",
}
TABLE = [
    *(
        pytest.param(f"{name} {words}", says, id=f"{name} {words}")
        for name in STAGES
        for words, says in EVERY_STAGE.items()
    ),
    *(
        pytest.param(f"{name} {words}", says, id=f"{name} {words}")
        for name in OPTIONS
        for words, says in EVERY_OPTIONS.items()
    ),
    *(pytest.param(words, says, id=words) for words, says in ONE_COMMAND.items()),
]


@pytest.mark.parametrize("words, says", TABLE)
def test_a_command_line_that_cannot_be_used(words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call(*shlex.split(words)).check(2, says)
    assert not list(tmp_path.iterdir()), "nothing was written"


SHOWN = {
    "": "usage: genrec COMMAND",
    "--help": "usage: genrec COMMAND",
    "-h": "usage: genrec COMMAND",
    "help": "usage: genrec COMMAND",
    "--version": r"^genrec \d",
    "version": r"^genrec \d",
    "presets": "quickstart",
    **{f"{name} --help": f"genrec {name}|python|bash" for name in (*STAGES, *OPTIONS)},
    **{f"{name} -h --no_such_flag": "" for name in STAGES},
    **{f"{name} --show-config --config tiny": "run" for name in STAGES},
    "run --help --from nowhere": "",
}


@pytest.mark.parametrize("words, says", SHOWN.items(), ids=list(SHOWN))
def test_what_only_shows_something(words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call(*shlex.split(words)).check(0, says)
    assert not list(tmp_path.iterdir()), "nothing was written"
