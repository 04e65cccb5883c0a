import torch

from qdgs.samplers.costs import Cost, Meter


def test_costs_add_up_and_differ_part_by_part():
    one, other = Cost(generator_calls=3, seconds=1.5), Cost(generator_calls=2, judge_labels=7)
    assert one + other == Cost(generator_calls=5, judge_labels=7, seconds=1.5)
    assert (one + other) - other == one


def test_a_meter_counts_images_and_readings_and_not_the_padding(make_problem):
    meter, problem = Meter(), make_problem()
    latents = torch.zeros(70, 2)
    images = torch.cat(list(meter.images(problem.generator, latents, micro_batch=64)))
    read = meter.read(problem.judge, images)
    assert len(images) == len(read) == 70
    assert torch.equal(images, (images * 255).round() / 255)
    assert meter.cost == Cost(generator_calls=70, judge_labels=70, forwards=70)


def test_seconds_of_blocks_add_up():
    meter = Meter()
    for _ in range(2):
        with meter.timed():
            torch.zeros(10).sum()
    assert 0 < meter.cost.seconds < 5
