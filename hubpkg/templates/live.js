(() => {
  let seen;
  const ask = async () => {
    if (document.hidden) return;
    try {
      const version = await (await fetch("/.changes")).text();
      if (seen !== undefined && version !== seen) location.reload();
      seen = version;
    } catch {} // the server has ended
  };
  setInterval(ask, 1000);
  ask();
})();
