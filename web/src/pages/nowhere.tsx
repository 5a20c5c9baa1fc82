import { Anchor } from "@mantine/core";
import { Link } from "react-router";

import { Page } from "../parts/page";
import { Empty } from "../parts/said";

export default function Nowhere() {
  return (
    <Page title="There is no such page">
      <Empty action={<Anchor component={Link} to="/">Go home</Anchor>}>The address may be misspelt.</Empty>
    </Page>
  );
}
