"""What can go wrong with a cluster. Finished work is in the run folder, whatever becomes of the machines."""

from forklock.errors import ForklockError


class ClusterError(ForklockError):
    """The cluster cannot be reached, or cannot do what the recipe asks for."""


class ClusterLostError(ClusterError):
    """The cluster's head is gone, and with it all work in flight."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"cluster.address = {address!r}: the cluster's head cannot be reached any more. What was finished is in "
            "the run folder; run the same command again on a new cluster, or without one, to go on"
        )
