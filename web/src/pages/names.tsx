// Every name that answers.
import { Select } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { names } from "../client/queries";

export function NameSelect({ label, value, set, clearable = false }: { label: string; value: string; set: (value: string) => void; clearable?: boolean }) {
  const known = useQuery(names);
  const ids = [...new Set([...(value ? [value] : []), ...(known.data?.data ?? []).map((each) => each.id)])];
  return (
    <Select
      label={label}
      data={ids}
      value={value || null}
      onChange={(chosen) => (chosen || clearable) && set(chosen ?? "")}
      searchable
      allowDeselect={clearable}
      clearable={clearable}
      error={known.error?.message}
      nothingFoundMessage="No such model"
    />
  );
}
