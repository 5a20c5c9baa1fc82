import { useEffect, useState } from "react";

const SECONDS = 8;

/** Whether something has been waited for so long that a person wonders. */
export function useSlow(waiting: boolean): boolean {
  const [late, setLate] = useState(false);
  useEffect(() => {
    if (!waiting) return;
    const timer = window.setTimeout(() => setLate(true), SECONDS * 1000);
    return () => {
      window.clearTimeout(timer);
      setLate(false);
    };
  }, [waiting]);
  return waiting && late;
}
