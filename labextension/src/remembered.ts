/** Kernels in which Claw answered, in the tab's own memory: it survives a reload; without it (private mode) a short cut is lost. */

export function isRemembered(kernelId: string): boolean {
  try {
    return sessionStorage.getItem(`claw:kernel:${kernelId}`) !== null;
  } catch {
    return false;
  }
}

export function remember(kernelId: string): void {
  try {
    sessionStorage.setItem(`claw:kernel:${kernelId}`, '1');
  } catch {
    // storage is switched off
  }
}

export function forget(kernelId: string): void {
  try {
    sessionStorage.removeItem(`claw:kernel:${kernelId}`);
  } catch {
    // storage is switched off
  }
}
