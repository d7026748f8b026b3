"""Whether a measured value grows: least squares over the medians of equal windows, so that a single
request's peak in one sample does not tilt the line."""
import math
import statistics

WINDOWS = 40


def slope(samples, windows=WINDOWS):
    """(seconds, value) pairs, at least three -> (value per hour, its standard error). Windows without a
    sample are left out."""
    begin, end = samples[0][0], samples[-1][0]
    width = (end - begin) / windows or 1.0
    buckets = {}
    for t, v in samples:
        buckets.setdefault(min(int((t - begin) / width), windows - 1), []).append((t, v))
    points = [(statistics.median(t for t, _ in b) / 3600, statistics.median(v for _, v in b))
              for b in buckets.values()]
    mean_t = statistics.fmean(t for t, _ in points)
    mean_v = statistics.fmean(v for _, v in points)
    spread = sum((t - mean_t) ** 2 for t, _ in points)
    if len(points) < 3 or spread == 0:
        raise ValueError("%d windows are too few for a slope" % len(points))
    rise = sum((t - mean_t) * (v - mean_v) for t, v in points) / spread
    residual = sum((v - mean_v - rise * (t - mean_t)) ** 2 for t, v in points)
    return rise, math.sqrt(residual / (len(points) - 2) / spread)


def percentile(values, p):
    """The smallest value that at least p percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * p / 100) - 1)]
