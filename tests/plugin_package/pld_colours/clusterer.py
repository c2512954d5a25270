"""A clusterer: called with the traces and their vectors, it returns a cluster number for each."""


def by_label(traces, vectors, *, seed):
    """Return one cluster for each gold label; -1 would be noise."""
    labels = sorted({trace.label for trace in traces})
    return [labels.index(trace.label) for trace in traces]
