"""Whether serving is worse than it was: a few monitors whose evidence may be looked at after every request.

    from firstfault.monitor.detect.detector import Detector

    detector = Detector(baseline=healthy_records)
    for incident in detector.feed(records):
        ...

settings → asked, table (what a request held, as columns) → baseline (what is usual) → monitors (how likely each request
is under an alternative, over the usual) → ledger (the evidence, request after request) → detector (incidents)
"""
