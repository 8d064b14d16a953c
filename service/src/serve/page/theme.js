// Runs before the page is drawn, so that a chosen theme does not flash. A classic script: modules come later.
(() => {
  const root = document.documentElement;
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  } catch { /* storage is forbidden: the system's theme is used */ }
})();
