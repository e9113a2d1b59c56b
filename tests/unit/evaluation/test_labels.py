import numpy as np
import pytest

from bandit.evaluation.labels import place

WITHIN = (0.0, 0.0, 600.0, 350.0)


def overlaps(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.parametrize("seed", range(10))
def test_sixteen_labels_cover_neither_each_other_nor_a_point_nor_the_edge(seed):
    random = np.random.default_rng(seed)
    anchors = [tuple(point) for point in random.uniform((80, 40), (520, 310), size=(16, 2))]
    sizes = [(float(width), 9.0) for width in random.uniform(60, 130, size=16)]

    boxes = place(anchors, sizes, taken=[], within=WITHIN)

    for number, box in enumerate(boxes):
        assert (box[2] - box[0], box[3] - box[1]) == pytest.approx(sizes[number])
        assert min(box[:2]) >= -2
        assert (box[2] <= 602, box[3] <= 352) == (True, True)
        assert not any(overlaps(box, other) for other in boxes[:number])
        assert not any(box[0] < x < box[2] and box[1] < y < box[3] for x, y in anchors)


def test_a_lone_label_stands_right_beside_its_point():
    (box,) = place([(300.0, 170.0)], [(80.0, 9.0)], taken=[], within=WITHIN)

    nearest = (np.clip(300.0, box[0], box[2]), np.clip(170.0, box[1], box[3]))
    assert 3 < np.hypot(nearest[0] - 300.0, nearest[1] - 170.0) < 15


def test_what_is_there_already_is_not_covered():
    taken = (290.0, 100.0, 420.0, 240.0)

    (box,) = place([(300.0, 170.0)], [(80.0, 9.0)], taken=[taken], within=WITHIN)

    assert not overlaps(box, taken)
