import "./library.css";
import "./own.css";

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./app";

const nonce = document.querySelector<HTMLMetaElement>("meta[name=nonce]")?.content ?? "";
// Where the dialogs' scroll lock looks for the number that the policy wants on a style.
Object.assign(globalThis, { __webpack_nonce__: nonce });

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <App nonce={nonce} />
    </StrictMode>,
  );
}
