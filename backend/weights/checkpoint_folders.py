"""Folders of checkpoints' weights: local, or downloaded from a hub when needed."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from backend.errors import InvalidInputError
from backend.progress import Progress
from backend.store.database import Store
from backend.store.lookup import weights_of
from backend.store.tables import Checkpoint
from backend.weights.hub_cache import GIGABYTE, HubCache, WeightsFolder, prefetch
from backend.weights.hub_download import Hub
from backend.weights.hub_locations import HubLocation, parse_location

MEGABYTE = 1_000_000

# Folders that this process has verified; loading weights compares the key again.
_VERIFIED: set[Path] = set()


def hub_cache(store: Store, progress: Progress) -> HubCache:
    """Return the store's cache of weights from hubs."""
    settings = store.settings
    return HubCache(
        settings.hub_dir.resolve(),
        round(settings.hub_cache_gb * GIGABYTE),
        lambda endpoint: Hub(endpoint, say=progress.say),
        _VERIFIED,
    )


def is_remote(checkpoint: Checkpoint) -> bool:
    """Return whether a checkpoint's weights are on a hub."""
    return parse_location(weights_of(checkpoint)) is not None


def is_available_locally(store: Store, checkpoint: Checkpoint, progress: Progress) -> bool:
    """Return whether a checkpoint's weights can be opened without a hub."""
    location = parse_location(weights_of(checkpoint))
    return location is None or hub_cache(store, progress).is_cached(location)


@contextmanager
def checkpoint_folder(
    store: Store, checkpoint: Checkpoint, progress: Progress
) -> Iterator[WeightsFolder]:
    """Yield the folder of a checkpoint's weights, downloaded if necessary.

    The folder exists until the end of the block; then weights from a hub may be evicted.

    Raises:
        QuantaError: the weights cannot be downloaded.
    """
    location = parse_location(weights_of(checkpoint))
    if location is None:
        yield WeightsFolder(Path(weights_of(checkpoint)), checkpoint.key)
        return
    cache = hub_cache(store, progress)
    with ExitStack() as stack:
        if cache.is_cached(location):
            folder = stack.enter_context(cache.open(location))
        else:
            folder = _download(stack, cache, location, progress)
        _check_size(checkpoint, location, folder)
        yield folder


def _download(
    stack: ExitStack, cache: HubCache, location: HubLocation, progress: Progress
) -> WeightsFolder:
    """Return a downloaded folder, which stays locked until the stack is closed."""
    reported = 0

    def on_progress(n_bytes: int, _total: int) -> None:
        nonlocal reported
        megabytes = n_bytes // MEGABYTE
        bar.advance(megabytes - reported)
        reported = megabytes

    # The total is known only after a request to the hub.
    with progress.task(f"fetch {location.short}", total=0, unit="MB") as bar:
        return stack.enter_context(cache.open(location, on_progress))


def _check_size(checkpoint: Checkpoint, location: HubLocation, folder: WeightsFolder) -> None:
    """Check that the weights have the registered number of parameters."""
    from compute.checkpoints import CheckpointError, parameter_counts_from_config

    try:
        implied = parameter_counts_from_config(folder.path).nonembedding
    except CheckpointError as error:
        raise InvalidInputError(str(error), "Choose another revision: --step") from error
    registered = checkpoint.model.nonembedding_parameters
    if implied != registered:
        raise InvalidInputError(
            f"{location.short}: its config.json implies N = {implied:,}, "
            f"{checkpoint.model.name} is registered with {registered:,}",
            "Add this step as another suite with --name and --step",
        )


@contextmanager
def prefetch_checkpoint(
    store: Store, checkpoint: Checkpoint | None, progress: Progress
) -> Iterator[None]:
    """Download a checkpoint in the background during the block, if it is on a hub."""
    location = parse_location(weights_of(checkpoint)) if checkpoint else None
    with prefetch(hub_cache(store, progress), location):
        yield
