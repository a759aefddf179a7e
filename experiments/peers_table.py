"""Ratios of alternating blocks, their intervals, and the table of them. Standard library only."""

import csv
import random
import statistics

RESAMPLES = 10_000
# The median of fewer rounds has no distribution-free 95 % interval either (1 - 2 * 0.5 ** n < 0.95 below 6).
MIN_ROUNDS = 6

COLUMNS = (
    "model", "batch", "sequence", "peer", "clock", "mixprec_ms", "peer_ms", "ratio", "ratio_low", "ratio_high",
    "rounds", "samples_per_block", "sm_clock_mhz_min", "sm_clock_mhz_max", "mixprec", "gpu", "driver", "torch",
    "tensorrt",
)  # fmt: skip


def clock_of(*blocks):
    """The finest clock that every one of these blocks has: ratios compare like with like."""
    return "device" if all(block["device_ms"] for block in blocks) else "wall"


def medians(blocks, clock):
    return [statistics.median(block[f"{clock}_ms"]) for block in blocks]


def ratio_interval(ours, theirs, seed=0):
    """How many times longer the peer takes: the median over rounds of the ratio of the two blocks of a round, and its
    percentile-bootstrap 95 % interval. Rounds are resampled whole, since what disturbs one block of a round (clocks,
    temperature) disturbs its neighbour as well."""
    if len(ours) != len(theirs) or len(ours) < MIN_ROUNDS:
        raise ValueError(f"{len(ours)} and {len(theirs)} blocks, at least {MIN_ROUNDS} rounds of two are needed")
    ratios = [peer / own for own, peer in zip(ours, theirs)]
    generator = random.Random(seed)
    resampled = sorted(statistics.median(generator.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    tail = RESAMPLES // 40
    return statistics.median(ratios), resampled[tail], resampled[-1 - tail]


def row(case, ours, theirs, facts):
    """One line of the table from the blocks of mixprec and of one peer, round by round."""
    clock = clock_of(*ours, *theirs)
    own, peer = medians(ours, clock), medians(theirs, clock)
    ratio, low, high = ratio_interval(own, peer)
    return {
        **case,
        **facts,
        "clock": clock,
        "mixprec_ms": statistics.median(own),
        "peer_ms": statistics.median(peer),
        "ratio": ratio,
        "ratio_low": low,
        "ratio_high": high,
        "rounds": len(own),
        "samples_per_block": min(len(block["wall_ms"]) for block in (*ours, *theirs)),
    }


def write_csv(rows, path):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for line in rows:
            writer.writerow({key: round(x, 6) if isinstance(x, float) else x for key, x in line.items()})


def markdown(rows):
    """The table for people. What is the same for every row is said once, below."""
    lines = [
        "| model | batch x seq | peer | mixprec, ms | peer, ms | peer / mixprec | 95 % interval |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in rows:
        shape = f"{line['batch']}x{line['sequence']}"
        times = f"{line['mixprec_ms']:.4f} | {line['peer_ms']:.4f} | {line['ratio']:.3f}"
        interval = f"{line['ratio_low']:.3f} to {line['ratio_high']:.3f}"
        lines.append(f"| {line['model']} | {shape} | {line['peer']} | {times} | {interval} |")
    return "\n".join([*lines, "", *notes(rows)]) + "\n"


def notes(rows):
    def values(key):
        return ", ".join(sorted({str(line[key]) for line in rows if line.get(key) not in (None, "")}))

    clocks = {"device": "device time between events around each pass", "wall": "wall time of each pass"}
    used = " or ".join(clocks[clock] for clock in clocks if any(line["clock"] == clock for line in rows))
    yield f"Medians of {values('rounds')} alternating rounds of at least {values('samples_per_block')} samples: {used}."
    yield "Above 1 mixprec is faster. The interval is a bootstrap over rounds."
    peers = [f"PyTorch {values('torch')}."] if values("torch") else []
    peers += [f"{values('tensorrt')}."] if values("tensorrt") else []
    yield " ".join([f"mixprec: {values('mixprec')}.", *peers])
    if values("gpu"):
        low, high = values("sm_clock_mhz_min"), values("sm_clock_mhz_max")
        clock = f", SM clock {low} to {high} MHz between blocks" if low else ""
        yield f"GPU: {values('gpu')}, driver {values('driver')}{clock}."
