// The discs in space, painted without a graphics card: triangles with a depth buffer, names as elements above.
(function () {
  "use strict";
  const SHARPNESS = 2; // painted pixels for each pixel of the page: smooth edges
  const DEGREES_PER_SECOND = 24;
  const NAME_ROOM_PX = 78;
  const box = document.getElementById("view3d");
  const buttons = document.getElementById("view3d-buttons");
  const turnButton = buttons.querySelector("[data-turn]");
  const scene = JSON.parse(document.getElementById("scene").textContent);
  const canvas = document.createElement("canvas");
  const pen = canvas.getContext("2d");
  const state = { yaw: scene.yaw_deg, pitch: scene.pitch_deg, turning: false, visible: false, queued: false, before: 0, left: 360 };
  let picture, pixels, depths;

  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

  function unpack(text) {
    return new Uint16Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  }
  // Unit normals of the vertices: the mean of their triangles', weighted by area.
  function normals(points, faces) {
    const sums = new Float32Array(points.length);
    const u = [0, 0, 0], v = [0, 0, 0];
    for (let f = 0; f < faces.length; f += 3) {
      const corners = [3 * faces[f], 3 * faces[f + 1], 3 * faces[f + 2]];
      for (let n = 0; n < 3; n++) {
        u[n] = points[corners[1] + n] - points[corners[0] + n];
        v[n] = points[corners[2] + n] - points[corners[0] + n];
      }
      for (let n = 0; n < 3; n++) {
        const cross = u[(n + 1) % 3] * v[(n + 2) % 3] - u[(n + 2) % 3] * v[(n + 1) % 3];
        for (const corner of corners) sums[corner + n] += cross;
      }
    }
    for (let p = 0; p < sums.length; p += 3) {
      const length = Math.hypot(sums[p], sums[p + 1], sums[p + 2]) || 1;
      for (let n = 0; n < 3; n++) sums[p + n] /= length;
    }
    return sums;
  }
  function addName(text, kind) {
    const made = document.createElement("span");
    made.textContent = text;
    made.className = kind;
    made.setAttribute("aria-hidden", "true");
    box.append(made);
    return made;
  }
  function prepare(disc) {
    // Vertices come as 16-bit steps from the corner of the scene's box.
    const points = Float32Array.from(unpack(disc.vertices), (step, n) => step * scene.step_mm - scene.half_mm[n % 3]);
    const faces = unpack(disc.faces);
    const chip = addName(disc.level, "chip");
    chip.style.background = disc.colour;
    chip.style.color = disc.ink;
    const rgb = [1, 3, 5].map((n) => parseInt(disc.colour.slice(n, n + 2), 16));
    return { ...disc, points, faces, chip, rgb, normals: normals(points, faces), turned: new Float32Array((points.length / 3) * 4) };
  }

  // Rows: page right, page up, towards the viewer.
  function axes() {
    const [yaw, pitch] = [state.yaw, state.pitch].map((angle) => (angle * Math.PI) / 180);
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    return [[cy, sy, 0], [-sp * sy, sp * cy, cp], [sy * cp, -cy * cp, sp]];
  }
  // Page x and y in painted pixels, depth in mm and brightness of every vertex.
  function project(disc, rows, scale, middle) {
    const { points, normals, turned } = disc;
    const light = [0, 1, 2].map((n) => scene.light.reduce((sum, part, row) => sum + part * rows[row][n], 0));
    for (let p = 0, t = 0; p < points.length; p += 3, t += 4) {
      const [x, y, z] = [points[p], points[p + 1], points[p + 2]];
      turned[t] = middle[0] + scale * (rows[0][0] * x + rows[0][1] * y + rows[0][2] * z);
      turned[t + 1] = middle[1] - scale * (rows[1][0] * x + rows[1][1] * y + rows[1][2] * z);
      turned[t + 2] = rows[2][0] * x + rows[2][1] * y + rows[2][2] * z;
      const facing = Math.abs(light[0] * normals[p] + light[1] * normals[p + 1] + light[2] * normals[p + 2]);
      turned[t + 3] = scene.ambient + (1 - scene.ambient) * facing;
    }
  }
  function paint({ faces, turned, rgb }) {
    const { width, height } = picture;
    for (let f = 0; f < faces.length; f += 3) {
      const a = 4 * faces[f], b = 4 * faces[f + 1], c = 4 * faces[f + 2];
      const ax = turned[a], ay = turned[a + 1], bx = turned[b], by = turned[b + 1], cx = turned[c], cy = turned[c + 1];
      const area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay);
      if (area === 0) continue;
      const right = Math.min(width - 1, Math.floor(Math.max(ax, bx, cx)));
      const bottom = Math.min(height - 1, Math.floor(Math.max(ay, by, cy)));
      for (let y = Math.max(0, Math.ceil(Math.min(ay, by, cy))); y <= bottom; y++) {
        for (let x = Math.max(0, Math.ceil(Math.min(ax, bx, cx))); x <= right; x++) {
          const wb = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / area;
          const wc = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / area;
          const wa = 1 - wb - wc;
          if (wa < 0 || wb < 0 || wc < 0) continue;
          const depth = wa * turned[a + 2] + wb * turned[b + 2] + wc * turned[c + 2];
          const at = y * width + x;
          if (depth <= depths[at]) continue;
          depths[at] = depth;
          const shade = wa * turned[a + 3] + wb * turned[b + 3] + wc * turned[c + 3];
          pixels[at] = (255 << 24) | ((rgb[2] * shade) << 16) | ((rgb[1] * shade) << 8) | (rgb[0] * shade);
        }
      }
    }
  }
  function draw() {
    const [width, height] = [box.clientWidth, box.clientHeight];
    if (!width || !height) return;
    if (!picture || picture.width !== width * SHARPNESS || picture.height !== height * SHARPNESS) {
      canvas.width = width * SHARPNESS;
      canvas.height = height * SHARPNESS;
      picture = pen.createImageData(canvas.width, canvas.height);
      pixels = new Uint32Array(picture.data.buffer);
      depths = new Float32Array(pixels.length);
    }
    pixels.fill(0);
    depths.fill(-Infinity);
    const rows = axes();
    const room = [width - NAME_ROOM_PX, height - 20];
    const pxPerMm = Math.min(room[0] / (2 * scene.reach_mm[0]), room[1] / (2 * scene.reach_mm[1]), 5);
    const middle = [room[0] / 2 + 4, height / 2];
    for (const disc of discs) {
      project(disc, rows, pxPerMm * SHARPNESS, middle.map((part) => part * SHARPNESS));
      paint(disc);
    }
    pen.putImageData(picture, 0, 0);
    placeNames(rows, pxPerMm, middle);
    for (const { toward, letter } of compass) {
      const [x, y] = [34 + 24 * dot(rows[0], toward), height - 34 - 24 * dot(rows[1], toward)];
      letter.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
      letter.style.opacity = String(Math.max(0, 0.75 + 1.5 * dot(rows[2], toward)));
    }
  }
  // Each name stands right of its disc; names that would meet move down.
  function placeNames(rows, pxPerMm, middle) {
    const wanted = discs.map((disc) => {
      const side = Math.hypot(...rows[0].map((part, n) => part * disc.extent_mm[n]));
      const x = middle[0] + pxPerMm * (dot(rows[0], disc.centre_mm) + side) + 4;
      return { chip: disc.chip, x, y: middle[1] - pxPerMm * dot(rows[1], disc.centre_mm) };
    });
    wanted.sort((a, b) => a.y - b.y);
    let free = -Infinity;
    for (const { chip, x, y } of wanted) {
      const top = Math.max(y, free);
      free = top + 26;
      chip.style.transform = `translate(${x}px, ${top}px) translateY(-50%)`;
    }
  }

  function frame(now) {
    state.queued = false;
    if (state.turning) {
      const step = (Math.min(now - state.before, 100) / 1000) * DEGREES_PER_SECOND;
      state.yaw += step;
      state.left -= step;
      if (state.left <= 0) turn(false);
    }
    state.before = now;
    draw();
    if (state.turning && state.visible) ask();
  }
  function ask() {
    if (state.queued) return;
    state.queued = true;
    requestAnimationFrame(frame);
  }
  // Turns once around, or until stopped.
  function turn(on) {
    state.turning = on;
    state.left = 360;
    state.before = performance.now();
    turnButton.textContent = on ? "Stop" : "Turn";
    ask();
  }
  function look(yaw, pitch) {
    state.yaw = yaw;
    state.pitch = Math.max(-90, Math.min(90, pitch));
    turn(false);
  }

  box.append(canvas);
  box.classList.add("live");
  const discs = scene.discs.map(prepare);
  const compass = Object.entries({ L: [1, 0, 0], R: [-1, 0, 0], P: [0, 1, 0], A: [0, -1, 0], S: [0, 0, 1], I: [0, 0, -1] })
    .map(([letter, toward]) => ({ toward, letter: addName(letter, "compass") }));
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Discs in space: ${scene.discs.map((disc) => disc.level).join(", ")}. Arrow keys turn them.`);
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) look(state.yaw - event.movementX * 0.5, state.pitch + event.movementY * 0.5);
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [10, 0], ArrowRight: [-10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10] }[event.key];
    if (!step) return;
    event.preventDefault();
    look(state.yaw + step[0], state.pitch + step[1]);
  });
  turnButton.addEventListener("click", () => turn(!state.turning));
  for (const button of buttons.querySelectorAll("[data-look]")) {
    button.addEventListener("click", () => look(...button.dataset.look.split(" ").map(Number)));
  }
  new ResizeObserver(ask).observe(box);
  new IntersectionObserver((entries) => {
    state.visible = entries[entries.length - 1].isIntersecting;
    state.before = performance.now();
    ask();
  }).observe(box);
  buttons.hidden = false;
  draw(); // the first picture waits for no animation frame, which a page in the background may never get
  turn(!matchMedia("(prefers-reduced-motion: reduce)").matches);
})();
