"""`python -m experiments run|report|forecast|simulate|bag-of-words|likelihood|transfer`."""

import typer

from experiments.bench.bag_of_words import bag_of_words
from experiments.bench.command import run
from experiments.bench.forecast import forecast
from experiments.bench.likelihood import likelihood
from experiments.bench.transfer import transfer
from experiments.report.command import report
from experiments.simulation.command import main as simulate

app = typer.Typer(
    add_completion=False,
    help="Compares prompt optimizers on local models, and reports what it found.",
)
app.command("run")(run)
app.command("report")(report)
app.command("forecast")(forecast)
app.command("simulate")(simulate)
app.command("bag-of-words")(bag_of_words)
app.command("likelihood")(likelihood)
app.command("transfer")(transfer)

if __name__ == "__main__":
    app()
