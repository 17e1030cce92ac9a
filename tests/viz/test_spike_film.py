"""A film with spikes: the newest tick stands at the right end, each layer in its colour."""

import numpy as np
import pytest
import torch

from bio_rl.contracts import Probe
from bio_rl.viz import spike_film
from bio_rl.viz.spike_film import COLOURS, SIDE, TICK, TITLE, Scroll, columns, raster

WORLD = np.zeros((40, 60, 3), np.uint8)


def heard(*trains: list[list[int]]) -> Probe:
    """The report of a decision of one row by a network with a layer for each train [K, N]."""
    probe = Probe()
    for number, train in enumerate(trains, 1):
        probe.record(f"spikes/{number}", torch.tensor(train, dtype=torch.float32)[:, None])
    return probe


def test_a_column_is_a_tick_and_layers_have_their_numbers():
    seen = columns(heard([[1, 0, 0], [0, 1, 1]], [[0, 1], [0, 0]]))
    # neurons of layer 1, a row between, neurons of layer 2
    assert seen.tolist() == [[1, 0, 0, -1, 0, 2], [0, 1, 1, -1, 0, 0]]


def test_a_network_without_spikes_is_refused():
    with pytest.raises(ValueError, match="no spikes"):
        columns(Probe())


def test_a_spike_is_drawn_in_the_colour_of_its_layer_and_silence_is_paper():
    pixels = np.asarray(raster(np.array([[1, 0], [-1, -1], [0, 2]]), height=3))
    assert pixels.shape == (3, 2 * TICK, 3)
    assert tuple(pixels[0, 0]) == COLOURS[0]
    assert tuple(pixels[2, TICK]) == COLOURS[1]
    assert tuple(pixels[0, TICK]) == (255, 255, 255)


def test_the_newest_spike_stands_at_the_right_end_and_moves_left():
    pictures: list[np.ndarray] = []
    scroll = Scroll("world", 10.0, pictures.append)
    for spike in (1, 0):
        scroll.see(WORLD)
        scroll.hear(heard([[spike]]), reward=1.0)
    first, second = (picture[TITLE + 1] for picture in pictures)
    assert tuple(first[-1]) == COLOURS[0]
    assert tuple(second[-1]) == (255, 255, 255)
    assert tuple(second[-1 - TICK]) == COLOURS[0]


def test_only_every_second_decision_is_a_picture_of_a_film_with_half_the_pictures():
    pictures: list[np.ndarray] = []
    scroll = Scroll("world", 2 * spike_film.FPS, pictures.append)
    for _ in range(5):
        scroll.see(WORLD)
        scroll.hear(heard([[1, 0]]), reward=0.0)
    assert len(pictures) == 2


def test_more_neurons_than_rows_are_thinned():
    many = columns(heard([[1] * 1000]))
    assert many.shape[1] <= SIDE
    assert many.any()


def test_a_world_that_is_wider_than_high_is_shown_whole():
    picture = np.asarray(spike_film.fitted(np.full((40, 80, 3), 7, np.uint8)))
    assert picture.shape == (SIDE, SIDE, 3)
    assert (picture == 7).all(-1).any(0).all()
