// The page's data lie in one element, as JSON; everything that is drawn is drawn from them.

const data = JSON.parse(document.getElementById("data").textContent);
data.figures.forEach(mountFigure);
mountReader(data.reader);
mountPairs(data.pairs);
