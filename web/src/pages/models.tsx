export { default } from "./nowhere";
