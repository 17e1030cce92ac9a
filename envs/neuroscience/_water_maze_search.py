"""The water maze's ideal observer: a sweep of the pool, then straight to where the platform was
found.
"""

import numpy as np

# to a waypoint: no point lies farther from the corners of a square, four steps of 0.05 with turns
# of 90°
NEAR = 0.04
# from the place of finding along the way there: the mean of the platforms that would be found just
# then
AHEAD = 0.055
AROUND = 0.08  # of the estimate lie the six places to look at if the platform is not met at it
EIGHTH = np.pi / 4  # of a turn, between two compass directions
FAINTEST = 1e-30  # activity of a place cell whose logarithm is taken


class Search:
    """Sweep along `spiral`, in later trials from where the last one ended, until found; then go to
    the mean estimate.

    A policy of observations [N, C + 4]. Where the platform is neither met at the estimate nor at
    six places around it, it has moved, and the sweep begins anew.
    """

    def __init__(self, num_envs: int, centres: np.ndarray, width: float, turns: bool) -> None:
        """centres [C, 2] and width: of the place cells; turns: whether actions are turns, else
        compass directions.
        """
        self.centres = centres
        self.width = width
        self.turns = turns
        self.lanes = spiral()

        hexagon = AROUND * unit(np.arange(6) * np.pi / 3)
        self.around = np.concatenate((np.zeros((1, 2)), hexagon))
        self.findings = np.zeros(num_envs, np.int64)
        """How often the platform was found since it moved."""
        self.estimate = np.zeros((num_envs, 2))
        self.look = np.zeros(num_envs, np.int64)
        """Index in `around`."""
        self.lane = np.zeros(num_envs, np.int64)
        """Index in `lanes`."""
        self.spin = np.zeros(num_envs, np.int64)
        """Eighths of a turn by which the sweep is turned."""

    def __call__(self, obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        """Actions [N]; turns [N, 1]."""
        c = len(self.centres)
        place, heading, starts, reward = np.split(obs, [c, c + 2, c + 3], axis=1)
        position = locate(place, self.centres, self.width)
        heading = heading.astype(float)
        starts = starts[:, 0] > 0
        rewarded = reward[:, 0] > 0

        self._begin(starts, begun)
        self._learn(rewarded, position, heading)
        self._move_on(position)

        way = _angle(self._goal() - position)
        if self.turns:
            return turns(way, _angle(heading))
        return np.round(way / EIGHTH).astype(np.int64) % 8

    def _begin(self, starts: np.ndarray, begun: np.ndarray) -> None:
        """Let a trial start, or an episode begin: the lane that the last trial left unfinished is
        swum again.
        """
        self.findings[begun] = 0
        self.lane[begun] = 0
        self.look[starts] = 0
        self.lane[starts] = np.maximum(self.lane[starts] - 1, 0)

    def _learn(self, rewarded: np.ndarray, position: np.ndarray, heading: np.ndarray) -> None:
        """Take the place of finding into the mean estimate."""
        self.findings += rewarded
        error = position + AHEAD * heading - self.estimate
        # The mean of the findings so far; rows without any are not changed.
        n = np.maximum(self.findings, 1)
        self.estimate += rewarded[:, None] * error / n[:, None]

    def _move_on(self, position: np.ndarray) -> None:
        """Choose the next goal where the present one is reached."""
        known = self.findings > 0
        way = self._goal() - position
        there = np.hypot(*way.T) < NEAR
        self.look += there & known
        self.lane = (self.lane + (there & ~known)) % len(self.lanes)

        moved = self.look == len(self.around)
        self.findings[moved] = 0
        self.look[moved] = 0
        self.lane[moved] = 0

        # A sweep that begins is turned so that its first corner lies nearest.
        off = _angle(position) - _angle(self.lanes[:1])
        nearest = np.round(off / EIGHTH).astype(np.int64)
        self.spin = np.where(self.lane == 0, nearest, self.spin)

    def _goal(self) -> np.ndarray:
        """The place to swim to, [N, 2]."""
        x, y = self.lanes[self.lane].T
        cos, sin = unit(self.spin * np.pi / 4).T
        turned_x = cos * x - sin * y
        turned_y = sin * x + cos * y
        corner = np.stack((turned_x, turned_y), 1)

        known = self.findings[:, None] > 0
        place = self.estimate + self.around[self.look]
        return np.where(known, place, corner)


def turns(way: np.ndarray, heading: np.ndarray) -> np.ndarray:
    """Actions [N, 1] that turn the heading [N] towards the way [N], both in rad."""
    turn = (way - heading + np.pi) % (2 * np.pi) - np.pi
    share = np.clip(turn / (np.pi / 2), -1, 1)
    return share.astype(np.float32)[:, None]


def spiral() -> np.ndarray:
    """Corners [K, 2] of four octagons, one inside the other, swum as one way inwards along the
    compass directions.

    Side i is the line n_i · x = a_i, n_i at 45° i; from turn to turn a falls by the diameter of a
    platform, from 0.8, where the outermost platforms are seen, to 0.2. The way begins at -22.5° and
    ends at the centre. It is 266 steps long, so a sweep spans two trials of 200, and it passes by a
    few platforms where it goes from one octagon to the next (as swum, 3.6 ± 0.3 % of 3,000): a
    second sweep meets most of them.
    """
    distances = np.repeat([0.8, 0.6, 0.4, 0.2], 8)
    a = np.concatenate(([0.8], distances))
    sides = np.arange(-1, len(a) - 1)
    normals = unit(sides * np.pi / 4)

    corners = []
    for i in range(len(a) - 1):
        # A corner is where one side meets the next: two equations for its two coordinates.
        two = slice(i, i + 2)
        corner = np.linalg.solve(normals[two], a[two])
        corners.append(corner)

    centre = np.zeros(2)
    return np.array([*corners, centre])


def locate(place: np.ndarray, centres: np.ndarray, width: float) -> np.ndarray:
    """The agent's position [N, 2], from place cells a = exp(-|x - c|² / 2σ²), [N, C]: least
    squares, weighted by a, of

    |x|² - 2 c · x = -2σ² log a - |c|²      linear in (|x|², x)
    """
    c = centres.astype(float)
    columns = np.column_stack((np.ones(len(c)), -2 * c))

    # The products of any two columns, [C, 9], so that one matrix product gives every row's normal
    # equations.
    outer = (columns[:, :, None] * columns[:, None]).reshape(-1, 9)

    log_place = np.log(np.maximum(place, FAINTEST))
    target = -2 * width**2 * log_place - np.square(c).sum(1)

    left = (place @ outer).reshape(-1, 3, 3)
    right = (place * target) @ columns
    solution = np.linalg.solve(left, right[:, :, None])

    # The first unknown is |x|², the other two are x.
    return solution[:, 1:, 0]


def unit(angle: np.ndarray) -> np.ndarray:
    """Unit vectors [..., 2] of angles [...] in rad."""
    cos = np.cos(angle)
    sin = np.sin(angle)
    return np.stack((cos, sin), -1)


def _angle(x: np.ndarray) -> np.ndarray:
    """The angles [N] in rad of vectors [N, 2]."""
    east, north = x.T
    return np.arctan2(north, east)
