// Text to copy, and a button that says when it was copied.
import { Box, Button, Code, CopyButton } from "@mantine/core";

export function Copied({ text, label = "Copy" }: { text: string; label?: string }) {
  return (
    <Box pos="relative">
      <Code block tabIndex={0} pr={84} style={{ whiteSpace: "pre-wrap", overflowWrap: "anywhere", maxHeight: 420, overflowY: "auto" }}>
        {text}
      </Code>
      <CopyButton value={text}>
        {({ copied, copy }) => (
          <Button pos="absolute" top={6} right={6} size="compact-xs" variant="default" onClick={copy}>
            {copied ? "Copied" : label}
          </Button>
        )}
      </CopyButton>
    </Box>
  );
}
