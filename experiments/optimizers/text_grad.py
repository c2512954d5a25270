"""TextGrad: the prompt as a variable, and the teacher's criticism as its gradient."""

import os
import random
import tempfile
from typing import Any

import dspy
from dspy.lm15 import Config, Message, Request, Response

from experiments.optimizers.table import Found, Job, Optimizer, rounds
from pld_dspy.stages.common.prompt import render_example, with_prompt

BATCH = 3
"""Examples of one step, as in TextGrad's own tutorial of prompt optimization."""

_PURPOSE = "The runtime of string-based function that checks if the prediction is correct."


class _Student:
    """What TextGrad calls to get an answer: the same program as everywhere, under its prompt."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._examples: dict[str, dspy.Example] = {}

    def text(self, example: dspy.Example) -> str:
        text = render_example(self._job.task.signature, example)
        self._examples[text] = example
        return text

    def __call__(self, prompt: str, system_prompt: str | None = None, **settings: Any) -> str:
        program = _under(self._job, system_prompt or "")
        try:
            said = program(**self._examples[prompt].inputs())
        except dspy.utils.exceptions.AdapterParseError as unread:
            return str(unread.lm_response)
        return str(said[self._job.task.label_key])


class _Teacher:
    """What TextGrad calls to criticise and to rewrite."""

    def __init__(self, lm: dspy.LM) -> None:
        self._lm = lm

    def __call__(self, prompt: str, system_prompt: str | None = None, **settings: Any) -> str:
        kwargs = self._lm.kwargs
        request = Request(
            model=self._lm.model,
            system=system_prompt,
            messages=(Message.user(prompt),),
            config=Config(
                temperature=kwargs.get("temperature"), max_tokens=kwargs.get("max_tokens")
            ),
        )
        response: Response = self._lm(request)
        return response.message.text or ""


def text_grad(job: Job) -> Found:
    """Return the best prompt of as many steps as the budget holds; a step that loses is undone."""
    # It makes a folder for its logs in the working folder when it is imported.
    os.environ.setdefault("TEXTGRAD_LOG_DIR", tempfile.mkdtemp(prefix="textgrad-"))
    import textgrad as tg

    student, teacher = _Student(job), _Teacher(job.teacher_lm)
    tg.set_backward_engine(teacher, override=True)
    prompt = tg.Variable(
        job.student().predict.signature.instructions,
        requires_grad=True,
        role_description="system prompt to a small language model, which answers with a label alone",
    )
    model = tg.BlackboxLLM(student, prompt)
    optimizer = tg.TextualGradientDescent(engine=teacher, parameters=[prompt])
    rng = random.Random(job.seed)
    best, unread = _score(job, prompt.value), 0
    for _ in range(rounds(job.calls, first=len(job.valset), each=len(job.valset) + 3 * BATCH + 1)):
        before = prompt.value
        optimizer.zero_grad()
        batch = rng.sample(list(job.train), min(BATCH, len(job.train)))
        tg.sum([_loss(tg, job, model, student, example) for example in batch]).backward()
        try:
            optimizer.step()
        except IndexError:  # the rewriting has no tags around it
            unread += 1
            continue
        score = _score(job, prompt.value)
        if score < best:
            prompt.set_value(before)
        best = max(best, score)
    note = f"{unread} rewritings could not be read" if unread else ""
    return Found(_under(job, prompt.value), note)


def _loss(tg: Any, job: Job, model: Any, student: _Student, example: dspy.Example) -> Any:
    asked = tg.Variable(
        student.text(example), requires_grad=False, role_description="query to the language model"
    )
    gold = tg.Variable(
        str(example[job.task.label_key]),
        requires_grad=False,
        role_description="correct answer for the query",
    )
    check = tg.autograd.string_based_ops.StringBasedFunction(
        lambda prediction, ground_truth_answer: str(
            int(prediction.value == ground_truth_answer.value)
        ),
        function_purpose=_PURPOSE,
    )
    return check(inputs={"prediction": model(asked), "ground_truth_answer": gold})


def _under(job: Job, prompt: str) -> dspy.Module:
    return with_prompt(job.student(), "predict", " ".join(prompt.split()) or "Answer.")


def _score(job: Job, prompt: str) -> float:
    program = _under(job, prompt)
    said: list[str | None] = []
    for example in job.valset:
        try:
            said.append(str(program(**example.inputs())[job.task.label_key]))
        except dspy.utils.exceptions.AdapterParseError:
            said.append(None)
    return job.corpus_metric([str(e[job.task.label_key]) for e in job.valset], said)


ENTRIES = (Optimizer(name="textgrad", run=text_grad, module="textgrad"),)
