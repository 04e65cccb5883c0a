/** Start whatever the page holds. */
{
  const data = JSON.parse(byId("data").textContent);
  const sprites = Object.fromEntries(Object.entries(data.sprites).map(([name, layout]) => [name, new Sprites(name, layout)]));
  if (byId("explorer")) new Explorer(data, sprites.elites);
  if (byId("opinions")) new Opinions(data, sprites);
  if (data.labelling) new Labelling(data.labelling, sprites.labelling);
}
