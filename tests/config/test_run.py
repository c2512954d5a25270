import pytest
from hypothesis import given
from hypothesis import strategies as st

from pld_dspy.config.run import ModelConfig, RunConfig, read_config
from pld_dspy.errors import ConfigError, DataError
from pld_dspy.models.lm import make_lm

GOOD = """
run_dir = "runs/x"
[task]
name = "contract_nli"
form = "document"
[split]
train = 4
val = 3
select = 2
test = 1
[student]
model = "local/qwen2.5-coder-0.5b"
threads = 3
[student.server]
parallel = 2
[pld]
threads = 7
teacher_threads = 5
[pld.search]
trials = 2
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(GOOD, encoding="utf-8")
    return path


def test_a_file_becomes_settings(config):
    read = read_config(config)

    assert read.task.options == {"form": "document"}
    assert read.split.sizes == {"train": 4, "val": 3, "select": 2, "test": 1}
    assert read.student.server.parallel == 2
    assert read.pld.search.trials == 2


def test_the_settings_survive_json(config):
    read = read_config(config)

    assert RunConfig(**read.model_dump(mode="json")) == read


def test_threads_of_a_model_win_over_those_of_the_optimizer(config):
    read = read_config(config, ["teacher.model=openai/x"])

    assert (read.pld_config.threads, read.pld_config.teacher_threads) == (3, 5)


def test_the_student_teaches_itself_where_no_teacher_is_named(config):
    read = read_config(config)

    assert read.teacher_or_student is read.student


def test_overrides_reach_into_tables_and_keep_their_types(config):
    changes = ["split.seed=9", "teacher.model=local/m.gguf", "pld.rules.per_label=false", "seed=2"]
    read = read_config(config, changes)

    assert (read.split_seed, read.seed) == (9, 2)
    assert read.teacher.model == "local/m.gguf"
    assert read.pld.rules.per_label is False


def test_the_split_takes_the_seed_of_the_run_unless_it_has_one(config):
    assert read_config(config, ["seed=4"]).split_seed == 4


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1))
def test_any_text_is_a_value(text):
    from pld_dspy.config.run import _value

    assert isinstance(_value(text), bool | int | float | str | list | dict)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("sead=1", "sead: unknown setting; did you mean 'seed'"),
        ("split.trian=1", "split: trian: unknown setting; did you mean 'train'"),
        ("split.train=many", "split: train: 'many' is not allowed, should be a valid integer"),
        ("split.train=0", "split: train: 0 is not allowed"),
        ("split.by=grop", "did you mean 'group'"),
        ("pld.search.trails=1", "trails: unknown setting; did you mean 'trials'"),
        ("student.api_base=http://x", "student: api_base is for models behind an endpoint"),
        ('teacher={model="openai/x", server={}}', "teacher: server is for local/... models"),
        ('task.table={path="t.csv", inputs=["a"], label="b"}', "task: give either name"),
        ("split.seed", "'split.seed' changes no setting"),
        ("=3", "'=3' changes no setting"),
        ("seed=1.5", "seed: 1.5 is not allowed"),
        ("run_dir.x=1", "reaches into run_dir, which is a single value"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(config, change, line):
    with pytest.raises(ConfigError) as caught:
        read_config(config, [change])

    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_syntax_error_is_told_with_its_line(config):
    config.write_text("seed = 1\n[split\n", encoding="utf-8")

    with pytest.raises(ConfigError, match=r"is not TOML: .*line 2"):
        read_config(config)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.toml cannot be read: No such file"):
        read_config(tmp_path / "no.toml")


def test_options_of_a_known_task_do_not_go_with_a_table(config):
    config.write_text(
        GOOD.replace('name = "contract_nli"', 'table = {path="t.csv", inputs=["a"], label="b"}'),
        encoding="utf-8",
    )

    with pytest.raises(ConfigError, match="form go with a known task"):
        read_config(config)


@pytest.mark.parametrize("given_path", ["teacher/t.jsonl", "$PLD_DATA_DIR/teacher/t.jsonl"])
def test_recorded_traces_are_found_in_the_data_folder(config, tmp_path, monkeypatch, given_path):
    monkeypatch.setenv("PLD_DATA_DIR", str(tmp_path))
    file = tmp_path / "teacher" / "t.jsonl"
    file.parent.mkdir()
    file.write_text("", encoding="utf-8")

    assert read_config(config, [f"traces.file={given_path}"]).traces.paths == (file,)


def test_several_files_of_traces_are_found_in_their_order(config, tmp_path, monkeypatch):
    monkeypatch.setenv("PLD_DATA_DIR", str(tmp_path))
    for name in ("b.jsonl", "a.jsonl"):
        (tmp_path / name).write_text("", encoding="utf-8")
    traces = read_config(config, ['traces.file=["b.jsonl", "a.jsonl"]']).traces

    assert traces.paths == (tmp_path / "b.jsonl", tmp_path / "a.jsonl")
    assert traces.imported


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ('["a.jsonl", "no.jsonl"]', DataError, r"no traces file at .*no\.jsonl"),
        ('["a.jsonl", "a.jsonl"]', DataError, r"names .*a\.jsonl 2 times; name it once"),
        ("[]", ConfigError, r"traces: file: \[\] is not allowed"),
        ("[1]", ConfigError, r"traces: file: \[1\] is not allowed"),
    ],
)
def test_lists_of_traces_that_cannot_be_read_are_named(
    config, tmp_path, monkeypatch, value, error, message
):
    monkeypatch.setenv("PLD_DATA_DIR", str(tmp_path))
    (tmp_path / "a.jsonl").write_text("", encoding="utf-8")

    with pytest.raises(error, match=message) as caught:
        _ = read_config(config, [f"traces.file={value}"]).traces.paths
    assert "\n" not in str(caught.value)


def test_no_file_of_traces_is_no_path(config):
    assert read_config(config, ["traces={}"]).traces.paths == ()


def test_a_traces_file_that_is_not_there_is_named(config, monkeypatch):
    monkeypatch.delenv("PLD_DATA_DIR", raising=False)

    with pytest.raises(DataError, match=r"no traces file at t\.jsonl"):
        _ = read_config(config, ["traces.file=t.jsonl"]).traces.paths
    with pytest.raises(DataError, match="a variable in it is not set"):
        _ = read_config(config, ["traces.file=$PLD_DATA_DIR/t.jsonl"]).traces.paths


@pytest.mark.parametrize("word", ["default", "none", "None"])
def test_temperature_can_be_left_out_of_the_request(word):
    left_out = ModelConfig(model="openai/m", temperature=word)
    assert left_out.temperature is None
    assert ModelConfig(model="openai/m").temperature == 0.0
    assert make_lm("openai/m", temperature=left_out.temperature).kwargs["temperature"] is None


def test_a_temperature_that_is_no_number_is_told():
    with pytest.raises(ConfigError, match="temperature: 'warm' is not allowed"):
        ModelConfig(model="openai/m", temperature="warm")
