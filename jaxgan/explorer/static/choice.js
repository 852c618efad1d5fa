// A picture to choose, with a name for those who do not see it.

import { url } from "./socket.js";

export function choice(bytes, media, name, chosen) {
  const cell = document.createElement("div");
  const button = document.createElement("button");
  const image = document.createElement("img");
  image.src = url(bytes, media);
  image.alt = name;
  image.onload = () => URL.revokeObjectURL(image.src);
  button.append(image);
  button.addEventListener("click", chosen);
  cell.append(button);
  return cell;
}
