"""All stages of a configuration, one after the other; each starts from the one before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from clickcut_train.config import InitialConfig, TrainConfig, ValidationConfig
from clickcut_train.config_file import Stage, read_stages, to_toml
from clickcut_train.data.config import DataConfig
from clickcut_train.data.open import open_sources
from clickcut_train.data.source import share_of_several
from clickcut_train.distributed import World
from clickcut_train.errors import ConfigError
from clickcut_train.logbook import Logbook
from clickcut_train.signals import stop_on_signals
from clickcut_train.start import find_start, locked_folder
from clickcut_train.trainer import Data, Trainer
from clickcut_train.validation import held_out

Say = Callable[[str], None]


def select(stages: list[Stage], name: str) -> list[Stage]:
    """The stage of a name, or all of them when the name is empty.

    Raises:
        ConfigError: there is none of this name.
    """
    chosen = [s for s in stages if not name or s.name == name]
    if not chosen:
        known = ", ".join(s.name for s in stages if s.name) or "none"
        raise ConfigError(f"no stage {name}; the file has {known}")
    return chosen


def start_of(stage: Stage, stages: list[Stage], out: Path) -> TrainConfig:
    """A stage's configuration with the previous stage's checkpoint as its initial weights.

    Raises:
        ConfigError: the previous stage has not been run.
    """
    position = stages.index(stage)
    if position == 0:
        return stage.config
    previous = out / stages[position - 1].name
    found = [p for p in (previous / "best.pt", previous / "last.pt") if p.exists()]
    if not found:
        raise ConfigError(
            f"stage {stage.name} starts from {previous}/last.pt, which is not there: run stage "
            f"{stages[position - 1].name} first (or all stages: leave --stage out)"
        )
    initial = InitialConfig(kind="checkpoint", path=str(found[0]))
    return stage.config.model_copy(update={"initial": initial})


def open_data(config: TrainConfig, say: Say) -> Data:
    """Read the photographs of a configuration; tells what was read and what was skipped.

    Raises:
        ConfigError: no data is configured.
        DataError: it cannot be used.
    """
    if not config.data.sources:
        raise ConfigError(
            "no training data: give [[data.sources]] with kind, path and splits in the file"
        )
    train, reports = open_sources(config.data)
    for report in reports:
        say(str(report))
    # With pairs for each object an epoch is made of objects, not of photographs.
    by_photo = not config.samples.pairs_per_object
    share = f"; {share_of_several(train):.0%} of an epoch are photographs with several objects"
    say(
        f"{len(train)} photographs, {int(train.objects.sum())} objects to learn from"
        + (share if by_photo else "")
    )
    data = Data(train)
    options = config.validation
    if options.every and options.source is not None:
        source, reports = open_sources(
            config.data.model_copy(update={"sources": (options.source,), "several": 0.0})
        )
        for report in reports:
            say(f"validation: {report}")
        data.validation = held_out(source, options.objects)
        say(f"validation on {len(data.validation)} objects")
    return data


def run_stage(trainer: Trainer, name: str) -> bool:
    """Train; prints before it starts all that determines it.

    Returns:
        Whether it is complete; False after SIGTERM or Ctrl-C.

    Raises:
        ClickcutError: anything that keeps it from going on, with advice.
    """
    config, folder, world = trainer.config, trainer.folder, trainer.world
    try:
        if world.leads:
            trainer.logbook = _open_logbook(trainer)
            lines = [
                f"stage {name or '(only one)'} in {folder}",
                to_toml(config).rstrip(),
                *trainer.notes,
                f"{config.model.name}: {trainer.parameters:,} parameters; {world.size} process(es) "
                f"on {world.device}",
            ]
            trainer.logbook.say("\n".join(lines))
        with stop_on_signals() as stop:
            complete = trainer.train(stop)
        if trainer.logbook:
            how = "complete" if complete else "stopped; the same command goes on from there"
            seen = trainer.learner.seen
            trainer.logbook.say(f"{how}: {folder / 'last.pt'} after {seen} samples")
        return complete
    finally:
        trainer.close()
        if trainer.logbook:
            trainer.logbook.close()


def _open_logbook(trainer: Trainer) -> Logbook:
    config, folder = trainer.config, trainer.folder
    try:
        (folder / "config.toml").write_text(to_toml(config), encoding="utf-8")
        total, seen = config.schedule.samples, trainer.learner.seen
        return Logbook(folder, total, seen, config.output.tensorboard)
    except OSError as error:
        raise ConfigError(
            f"{error.filename or folder} cannot be written ({error.strerror}); give another --out"
        ) from error


def run_file(
    path: Path, assignments: list[str], stage: str, out: Path | None, world: World
) -> bool:
    """Run a configuration file; arguments as `clickcut train run`.

    What can be checked without the photographs is checked before they are read.

    Returns:
        Whether everything that was asked for is complete.
    """

    def say(text: str) -> None:
        if world.leads:
            print(text, flush=True)

    def root_of(each: Stage) -> Path:
        return out or Path(each.config.output.folder)

    stages = read_stages(path, assignments)
    chosen = select(stages, stage)
    for each in chosen:  # what is wrong with a later stage's folder must not cost the earlier ones
        if (folder := root_of(each) / each.name).joinpath("last.pt").exists():
            find_start(each.config, folder)
    data: Data | None = None
    opened: tuple[DataConfig, ValidationConfig] | None = None
    for each in chosen:
        config = start_of(each, stages, root_of(each))
        folder = root_of(each) / each.name
        with locked_folder(folder) if world.leads else nullcontext():
            start = find_start(config, folder)
            if data is None or opened != (config.data, config.validation):
                data, opened = open_data(config, say), (config.data, config.validation)
            if not run_stage(Trainer(config, folder, data, world, start), each.name):
                return False
    return True
