"""What the numbers of a comparison mean, a sentence each."""

from collections.abc import Mapping

TABLES: Mapping[str, Mapping[str, str]] = {
    "How near to the target": {
        "fairness_discrepancy": "Euclidean distance of the shares from the target, as the auditor counts.",
        "corrected_fairness_discrepancy": "The same after the auditor's known errors are taken out.",
        "fairness_discrepancy_ratio": "The distance over that of random samples of the same generator.",
        "kl": "Kullback-Leibler divergence of the shares from the target, in nats.",
        "normalized_entropy": "Evenness of the groups, 1 at the best; it hides an empty group.",
        "max_share_error": "How far the worst group is from its share, relative to that share.",
        "smallest_group_share": "Share of the smallest group.",
        "unreadable_share": "Images whose group the auditor cannot tell: the other numbers leave them out.",
    },
    "How good and how varied the images": {
        "label_agreement": "Share of images whose label the auditor confirms.",
        "judged_quality": "Mean quality as the auditor reads it, over images that it gives one.",
        "group_diversity_ratio": "Vendi score within groups over that of random samples of the same group.",
        "near_duplicates": "Share of images nearer to another than 1 % of random samples are.",
        "kernel_distance": "Kernel distance to real images, on pixels: comparable within this table alone.",
    },
    "What a classifier makes of them": {
        "mean_accuracy": "Mean accuracy over groups of a biased classifier that was tuned on the images.",
        "worst_group_accuracy": "Its accuracy in the group where it is lowest.",
        "average_precision": "Average precision on test images that are biased as the training images are.",
        "equal_opportunity_difference": "Difference of the misses between protected groups.",
        "bias_amplification": "How much more it ties label to group than the data do; negative is less.",
        "score_divergence": "How differently it scores the protected groups.",
    },
    "What it cost": {
        "generator_calls": "Images that the generator made.",
        "judge_labels": "Images that a judge read.",
        "guide_scores": "Images that the guide scored.",
        "reference_images": "Images that the user had to bring, or the groups of those for training.",
        "trained_on": "Images that something was trained on.",
        "forwards": "Forward passes through networks.",
        "backwards": "Backward passes through networks.",
        "seconds": "Time on this machine, with whatever else it did.",
    },
}
"""Heading of a table → metric → what it means."""
