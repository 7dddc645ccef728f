"""gatescan.torch with several processes and threads, and its memory over many steps."""

import multiprocessing
import os
import subprocess
import sys
import threading

import pytest
import torch
from torch_support import results, twins

import gatescan
import gatescan.torch as gt

SECONDS = 120


def step(layer, values):
    layer.zero_grad()
    layer(values)[0].square().sum().backward()
    return [parameter.grad.clone() for parameter in layer.parameters()]


class Sequences(torch.utils.data.Dataset):
    """Items that a layer computes in the worker."""

    def __init__(self, layer):
        self.layer = layer

    def __len__(self):
        return 8

    def __getitem__(self, index):
        with torch.no_grad():
            return self.layer(torch.full((5, 3), float(index)))[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_forked_workers_compute():
    """DataLoader's workers, forked from a process whose threads have computed."""
    layer = gt.LSTM(3, 4)
    values = torch.randn(20, 32, 3)
    expected = step(layer, values)
    loader = torch.utils.data.DataLoader(
        Sequences(layer), num_workers=2, timeout=SECONDS, multiprocessing_context="fork"
    )
    items = [item[0] for item in loader]
    torch.testing.assert_close(items[3], layer(torch.full((5, 3), 3.0))[0])
    torch.testing.assert_close(step(layer, values), expected, rtol=0, atol=0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_trains():
    """Also the backward pass of a forward pass in the parent, while a thread computes there."""
    context = multiprocessing.get_context("fork")
    # Large enough for several threads.
    layer = gt.GRU(3, 48)
    values = torch.randn(20, 32, 3)
    expected = step(layer, values)
    layer.zero_grad()
    waiting = layer(values)[0].square().sum()
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            step(gt.GRU(8, 16), torch.randn(10, 20, 8))

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for _ in range(5):
            queue = context.Queue()

            def child(queue=queue):
                waiting.backward()
                own = [parameter.grad.numpy() for parameter in layer.parameters()]
                queue.put((own, [g.numpy() for g in step(layer, values)]))

            process = context.Process(target=child)
            process.start()
            gradients = queue.get(timeout=SECONDS)
            process.join(SECONDS)
            assert process.exitcode == 0
            for part in gradients:
                torch.testing.assert_close(
                    [torch.from_numpy(gradient) for gradient in part], expected, rtol=0, atol=0
                )
    finally:
        stop.set()
        thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_of_a_process_with_a_gpu_says_what_to_do():
    context = multiprocessing.get_context("fork")
    layer = gt.GRU(3, 4)
    gatescan.set_device("gpu")
    try:
        layer(torch.zeros(2, 2, 3))
        queue = context.Queue()

        def child():
            try:
                layer(torch.zeros(2, 2, 3))
            except gatescan.Error as error:
                gatescan.set_device("cpu")
                queue.put((str(error), layer(torch.zeros(2, 2, 3))[0].shape))

        process = context.Process(target=child)
        process.start()
        text, shape = queue.get(timeout=SECONDS)
        process.join(SECONDS)
        assert "start method `spawn`" in text and shape == (2, 2, 4)
    finally:
        gatescan.set_device("auto")


def test_the_number_of_threads_changes_no_bits():
    """Large passes run on the threads of PyTorch's OpenMP, small ones on the calling thread."""
    threads = torch.get_num_threads()
    for hidden_size in (4, 64):
        layer = gt.LSTM(7, hidden_size, num_layers=2, bidirectional=True)
        values = torch.randn(30, 40, 7)
        found = []
        try:
            for number in (threads, 1, 3, threads):
                torch.set_num_threads(number)
                found.append(step(layer, values))
        finally:
            torch.set_num_threads(threads)
        for gradients in found[1:]:
            torch.testing.assert_close(gradients, found[0], rtol=0, atol=0)


@pytest.mark.skipif(sys.platform != "linux", reason="only there PyTorch's threads are known")
def test_large_passes_run_on_threads_of_pytorch():
    """A process that computes layers has no threads beside PyTorch's."""
    program = """
import os
import torch
import gatescan
import gatescan.torch as gt

def threads():
    return len(os.listdir("/proc/self/task"))

gatescan.set_device("cpu")
torch.set_num_threads(3)
layer, values = gt.LSTM(7, 64), torch.randn(30, 40, 7)
torch.ones(1 << 20).exp().sum()
before = threads()
for _ in range(3):
    layer(values)[0].sum().backward()
assert threads() == before, (before, threads())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=SECONDS)


def test_threads_train_at_once():
    # The second is large enough for several threads.
    layers = [gt.LSTM(5, 12, num_layers=2), gt.GRU(5, 48, bidirectional=True)]
    values = [torch.randn(20, 32, 5) for _ in layers]
    expected = [step(*pair) for pair in zip(layers, values, strict=True)]
    failures = []

    def train(number):
        try:
            for _ in range(50):
                found = step(layers[number], values[number])
                torch.testing.assert_close(found, expected[number], rtol=0, atol=0)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=train, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_one_layer_in_two_threads():
    layer = gt.LSTM(5, 12)
    values = torch.randn(20, 32, 5)
    expected = layer(values)[0]
    failures = []

    def compute():
        try:
            for _ in range(100):
                torch.testing.assert_close(layer(values)[0], expected, rtol=0, atol=0)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=compute) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_memory_is_flat():
    """10,000 steps with 50 lengths, outputs that are never differentiated, and errors."""
    layer = gt.LSTM(4, 8, num_layers=2, dropout=0.2)

    def steps(count):
        for n in range(count):
            values = torch.randn(1 + n % 50, 3, 4)
            layer(values)
            with pytest.raises(RuntimeError):
                layer(values[..., :3])
            layer.zero_grad()
            layer(values)[0].sum().backward()

    steps(1500)
    before = resident()
    steps(10_000)
    grown = resident() - before
    print(f"grown by {grown >> 10} KiB")
    assert grown < 8 << 20


DISTRIBUTED = """
import sys
import torch
import torch.distributed as dist
import gatescan.torch as gt

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
torch.manual_seed(0)
model = gt.replace_(torch.nn.Sequential(torch.nn.LSTM(3, 4, num_layers=2)))
model = torch.nn.parallel.DistributedDataParallel(model)
values = torch.randn(7, 4, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(5):
    optimizer.zero_grad()
    model(values[:, 2 * rank : 2 * rank + 2])[0].square().mean().backward()
    optimizer.step()
torch.save(model.module.state_dict(), sys.argv[3] + str(rank))
dist.destroy_process_group()
"""


def test_two_processes_train_one_model(tmp_path):
    """DistributedDataParallel with gloo has the parameters of training on the whole batch."""
    script = tmp_path / "distributed.py"
    script.write_text(DISTRIBUTED)
    command = [sys.executable, str(script)]
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store"), str(tmp_path / "model")])
        for rank in (0, 1)
    ]
    assert [process.wait(SECONDS) for process in processes] == [0, 0]
    models = [torch.load(tmp_path / f"model{rank}") for rank in (0, 1)]
    torch.testing.assert_close(*models, rtol=0, atol=0)

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.LSTM(3, 4, num_layers=2))
    values = torch.randn(7, 4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        model(values)[0].square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(models[0], dict(model.state_dict()))


def test_spawned_children_compute():
    expected, layer = twins(torch.nn.GRU, gt.GRU, 3, 4)
    values = torch.ones(5, 2, 3, requires_grad=True)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        outputs, gradients = pool.apply_async(results, (layer, (values,))).get(SECONDS)
    torch.testing.assert_close((outputs, gradients), results(expected, (values,)))
