"""The configuration that `qdgs init` writes: a beginning, with what each key is for."""

STARTER = """\
# A run of qdgs. Check it with `qdgs check THIS_FILE`, start it with `qdgs run THIS_FILE --out RUN`.
kind: run
seed: 0

# What is to be balanced. `qdgs list` shows the generators that this machine can use.
generator: {name: shapes-vae}

# What a good image is, and which differences matter, in words. CLIP reads them.
guide:
  clip: {model: qdgs-mini}            # or, for words that qdgs-mini does not know:
  # clip: {model: ViT-B-32, pretrained: openai}     # fetched once: qdgs fetch THIS_FILE
  objective:
    positive: [A regular square or a triangle.]     # several prompts a side are averaged
    negative: [Splatters of colors.]
  measures:                           # low and high end of each difference; cells of the archive along it
    - {name: color, low: [A red shape.], high: [A blue shape.], cells: 50, range: auto}
    - name: edges
      low: [A triangle with 3 edges.]
      high: [A square or diamond with 4 edges.]
      cells: 50
      range: auto                     # or [-0.1, 0.1]
  weights: {text: 1.0, latent_norm: 0.5}            # latent_norm keeps latents where the prior has them

# How long to search. More evaluations fill more cells; leave out what you do not want to decide.
search:
  algorithm: auto                     # `qdgs list` shows the others
  evaluations: 20000

# What the dataset holds.
dataset:
  images: 2000
  label: edges                        # the measure that a classifier is to learn
  groups:                             # how measures become groups, and which judged attribute answers to each
    color: {cut: auto, gap: 0.05, low: red, high: blue, audit: color}
    edges: {cut: auto, gap: 0.05, low: triangle, high: square, audit: shape}
  target: uniform                     # or shares: {red/triangle: 0.4, …}, or a table of them: census.csv
  per_cell: 4                         # at most so many images from one cell
  on_shortage: stop                   # or accept: fewer images where a group cannot be filled
  # balance: {quality: {bins: 4}}     # a number that the teacher reads, to be balanced within every group
  # identities: {images: 9, offset: 0.2}            # several images of each latent; clusters of latents
  # layout: identity                  # folders by identity instead of by label

# Who looks at the images. The teacher places the cuts, the gate keeps broken images out, the auditor grades
# the result and holds no other role.
judges: {teacher: shape-geometry, gate: shape-geometry, auditor: shape-cnn}
"""
