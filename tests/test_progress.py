"""What happens in a run is told to those who listen to that run."""

import threading

from firstfault import progress
from firstfault.finding import Layer


def test_two_runs_in_one_process_do_not_mix():
    """Each listener hears its own run, side by side in threads."""
    heard, begun = {"a": [], "b": []}, threading.Barrier(2, timeout=30)

    def run(name):
        with progress.in_run(), progress.listening(heard[name].append):
            begun.wait()
            progress.emit(progress.Step(Layer.DATA, name))
            begun.wait()

    threads = [threading.Thread(target=run, args=(name,)) for name in heard]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: [event.text for event in events] for name, events in heard.items()} == {"a": ["a"], "b": ["b"]}


def test_a_thread_of_no_run_is_heard():
    """What a worker thread tells is not lost to the run that waits for it."""
    heard = []
    with progress.in_run(), progress.listening(heard.append):
        thread = threading.Thread(target=progress.emit, args=(progress.LayerStarted(Layer.DATA),))
        thread.start()
        thread.join()
    assert heard == [progress.LayerStarted(Layer.DATA)]
